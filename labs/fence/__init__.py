"""A fence around code that nobody vouches for; it knows nothing of labs and marks.

bubblewrap    the command line: which files, which user, which limits
memory        a memory limit for a run as a whole
frames        what goes through it over a pipe: plain values, never a pickle from inside
calls         system calls and sockets that bubblewrap leaves open are closed
"""
