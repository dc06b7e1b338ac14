"""nbgrader's settings for this course; run ``nbgrader`` in this folder. README.md says how.

Where work is handed in and out (``c.Exchange.root``) depends on the server, so it is not set here.
"""

import sys
from pathlib import Path

c = get_config()  # type: ignore[name-defined]  # noqa: F821  nbgrader puts it here

# The plugins below are this repository's: labs/plugins.
if (root := str(Path(__file__).resolve().parents[1])) not in sys.path:
    sys.path.append(root)
from labs.plugins import formgrader, timestamps  # noqa: E402

formgrader.guard()
timestamps.guard()

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

# Reads what Moodle and Canvas let a teacher download.
c.ZipCollectApp.extractor_plugin = "labs.plugins.collect.Extractor"
c.ZipCollectApp.collector_plugin = "labs.plugins.collect.Collector"

# Students' code runs in `grade` alone: autograde refuses, and says so.
c.Autograde.exporter_class = "labs.plugins.autograde.Refusal"

# Formgrader's and the feedback's pages: code whose colours take minutes has none.
c.HTMLExporter.filters = {"highlight_code": "labs.plugins.safe.coloured"}

# What a student gets back: no hidden tests, and nothing while a written answer is unread.
c.GenerateFeedback.preprocessors = [
    "nbgrader.preprocessors.GetGrades",
    "labs.plugins.feedback.AllRead",
    "labs.plugins.feedback.ForStudent",
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
]
