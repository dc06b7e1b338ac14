"""Marking the graded labs: students' code runs fenced, and only a trusted scorer gives marks.

The way of a mark, one file each; ``labs.fence`` holds the fence, and what goes through it:

    command     ``labs/grade``
    course      the teacher's nbgrader course: whose work is there, the gradebook
    lab         the course's own notebook: what runs first, what is asked for and tested
    submission  what a student handed in, read as data; nothing in it is run or believed
    marking     one student's marks, and the run of the notebook for the feedback
    scorer      runs the lab's test cells; holds the truth, and proxies for the student's functions
    worker      holds the student's functions and answers, nothing else; lives behind the fence
    landing     the notebook that the teacher keeps: trusted cells, and what was handed in as data
    table       what the teacher reads
"""
