"""Start everything before the students come: ``python -m labs.hub.before_class ADDRESS``.

It presses the button for each student, one after the other, and with ``--notebook`` opens that
notebook and imports what it imports. The student who opens it then finds its kernel ready. The
hub must have been started with VIZHELPERS_HUB_TOKEN, and this with the same.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

import aiohttp

from labs.hub.client import Browser, Refused
from labs.hub.settings import PREFIX

IMPORTS = "import torch, torchvision, vizhelpers as viz; viz.load_model"


async def names(address: str, token: str) -> list[str]:
    """Return the names of all who may log in."""
    headers = {"Authorization": f"token {token}"}
    where, found = f"{address.rstrip('/')}/hub/api/users", []
    async with aiohttp.ClientSession(headers=headers) as http:
        while True:
            async with http.get(where, params={"offset": len(found), "limit": 200}) as answer:
                if answer.status != 200:
                    raise Refused(f"the hub said {answer.status}: is the token the hub's?")
                page = await answer.json()
            found += [user["name"] for user in page]
            if len(page) < 200:
                return found


async def ready(address: str, name: str, token: str, notebook: str) -> str:
    """Start one student's server, and the notebook's kernel; returns what went wrong, or ""."""
    try:
        async with Browser(address, name, token) as browser:
            await browser.start_server()
            if notebook:
                kernel = await browser.open_notebook(notebook)
                done = await kernel.run(IMPORTS)
                await kernel.close()
                return done.error
    except (Refused, TimeoutError, aiohttp.ClientError) as error:
        return str(error)[:300]
    return ""


async def everybody(
    address: str, token: str, notebook: str, at_a_time: int, wanted: Sequence[str] = ()
) -> dict[str, str]:
    """Make all ready, a few at a time; returns name -> what went wrong, or ""."""
    turn = asyncio.Semaphore(at_a_time)

    async def one(name: str) -> str:
        async with turn:
            return await ready(address, name, token, notebook)

    who = list(wanted) or await names(address, token)
    return dict(zip(who, await asyncio.gather(*map(one, who)), strict=True))


def main() -> None:
    """Make the class ready; exit with 1 where it is not."""
    parser = argparse.ArgumentParser(prog="python -m labs.hub.before_class", description=__doc__)
    parser.add_argument("address", help="of the hub, such as http://127.0.0.1:8000")
    parser.add_argument("--notebook", default="", help="such as course/notebooks/01_print.ipynb")
    parser.add_argument("--at-a-time", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="one student")
    options = parser.parse_args()
    token = os.environ.get(PREFIX + "TOKEN", "")
    if not token:
        parser.error(f"{PREFIX}TOKEN is not set.")
    how = (options.address, token, options.notebook, options.at_a_time, options.only)
    try:
        found = asyncio.run(everybody(*how))
    except (Refused, aiohttp.ClientError) as error:
        sys.exit(str(error))
    wrong = {name: why for name, why in found.items() if why}
    sys.stdout.write(f"{len(found) - len(wrong)} of {len(found)} are ready.\n")
    if wrong:
        sys.exit("\n".join(f"{name}: {why}" for name, why in wrong.items()))


if __name__ == "__main__":
    main()
