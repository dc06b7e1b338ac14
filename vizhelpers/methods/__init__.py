"""The visualisation methods, one module for each topic of the course.

They are in a subpackage so that no public function of ``vizhelpers`` has the name of one of its
modules: ``vizhelpers.cam`` is always the function, whatever was imported before.
"""
