"""nbgrader's settings for this course; run ``nbgrader`` in this folder. README.md says how.

Where work is handed in and out (``c.Exchange.root``) depends on the server, so it is not set here.
"""

c = get_config()  # type: ignore[name-defined]  # noqa: F821  nbgrader puts it here

c.CourseDirectory.course_id = "vizhelpers"
c.CourseDirectory.source_directory = "source"
c.CourseDirectory.release_directory = "release"
c.CourseDirectory.submitted_directory = "submitted"
c.CourseDirectory.autograded_directory = "autograded"
c.CourseDirectory.feedback_directory = "feedback"

# What stands in a student's cell in place of the solution. It raises, so that an untouched cell is
# an error that says so, and not a name that is missing somewhere else.
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}
c.ClearSolutions.text_stub = "YOUR ANSWER HERE"

# Seconds. A solved lab needs some fifteen altogether, most of them to start torch.
c.ExecutePreprocessor.timeout = 60
c.ExecutePreprocessor.startup_timeout = 120
c.ExecutePreprocessor.iopub_timeout = 10
c.ExecutePreprocessor.interrupt_on_timeout = True

c.LimitOutput.max_lines = 200
c.LimitOutput.max_traceback = 60
