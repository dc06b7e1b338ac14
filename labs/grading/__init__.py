"""Marking the graded labs: students' code runs fenced, and only a trusted scorer gives marks.

The way of a mark, one file each:

    command     ``labs/grade``
    course      the teacher's nbgrader course: whose work is there, the gradebook
    assignment  one student's way through it
    lab         the course's own notebook: what runs first, what is asked for and tested
    submission  what a student handed in, read as data; nothing in it is run or believed
    marking     starts the processes of one student, and adds up
    zygote      a process with the lab's setup done; every other process is a fork of it (forks)
    scorer      runs the lab's test cells; holds the truth, and proxies for the student's functions
    worker      holds the student's functions and answers, nothing else; lives behind the fence
    frames      what goes between these two: numbers, texts, arrays, never a pickle from a student
    rerun       nbgrader's own autograde, behind the same fence: for the feedback, not for marks
    landing     what of it is put into the teacher's course
    fence       no network, other files, another user, limits (means, mounts, calls, memory, linux)
    table       what the teacher reads
"""
