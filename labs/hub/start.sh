#!/bin/sh
# Update the course's files with nbgitpuller, then run the student's server: `start.sh COMMAND…`.
# If the update fails, the server starts with the files that are there.
if [ -n "${COURSE_REPOSITORY:-}" ]; then
    GIT_TERMINAL_PROMPT=0 timeout 120 \
        gitpuller "$COURSE_REPOSITORY" "${COURSE_BRANCH:-main}" "$HOME/course" ||
        echo "The course's files could not be updated from $COURSE_REPOSITORY." >&2
fi
exec "$@"
