"""One file for each idea of the course. No public function of ``vizhelpers`` is named like a
module of ``vizhelpers``: an attribute means one thing, whatever was imported before."""
