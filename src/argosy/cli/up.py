"""`argosy up`: serves the models of files on this machine, or changes what a running instance serves."""

import argparse
import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from argosy.api.names import GATEWAY_PORT
from argosy.base.errors import NotNow, UserError
from argosy.cli.options import add_state_directory, state_directory

if TYPE_CHECKING:
    from argosy.api.llmservice import LLMService
    from argosy.apps.local.state import StateDirectory
    from argosy.cli.files import Loaded
    from argosy.edge.processes.engine_python import EnginePython

POLL_S = 0.1
LAST_WORDS_BYTES = 4000
HOST = "127.0.0.1"


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "up",
        help=summary,
        description=summary,
        epilog="examples: argosy up examples/smollm2.yaml · argosy up -d a.yaml b.yaml --port 8081\n"
        "A second `argosy up FILE…` makes the running instance match the files, and --scheduling has it schedule\n"
        "by another one; what is not named stays as it is.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="LLMService files (default: SmolLM2-135M)")
    parser.add_argument("-d", "--detach", action="store_true", help="leave it running in the background")
    parser.add_argument("--port", type=int, help=f"port of the gateway on {HOST} (default {GATEWAY_PORT})")
    parser.add_argument(
        "--scheduling",
        type=Path,
        metavar="FILE",
        help="a SchedulingConfig, read again when it changes (default: the profile `default`)",
    )
    parser.add_argument(
        "--engine-python",
        metavar="PATH",
        help="a Python in which vLLM is installed, for services with engine vllm (default: $ARGOSY_ENGINE_PYTHON, else "
        "argosy's own where vLLM is installed there)",
    )
    parser.add_argument("--strict", action="store_true", help="refuse what would need a stand-in")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="seconds to wait until all is ready (default 600)"
    )
    parser.add_argument("--supervise", type=int, metavar="FD", help=argparse.SUPPRESS)
    add_state_directory(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Start an instance, in the foreground or detached, or change the running one."""
    from argosy.cli.files import default_services, load_services  # noqa: PLC0415 (other verbs do without)

    if args.detach and Path("-") in args.files:
        raise UserError("-d reads files, not standard input; write the service into a file")
    state = state_directory(args)
    supervise = args.supervise is not None
    running = not supervise and state.supervisor_pid() is not None
    port = GATEWAY_PORT if args.port is None else args.port
    if not 0 < port < 65536:
        raise UserError(f"--port {port}: a port is a number from 1 to 65535")
    if args.scheduling is not None:
        from argosy.apps.picker.scheduling import check_scheduling  # noqa: PLC0415 (most do without)

        check_scheduling(args.scheduling)
    engine = state.engine_python if running or supervise else found_engine(args.engine_python)
    if running:
        _refuse_another_engine(args.engine_python, engine)
    if args.files or running:
        loaded = load_services(args.files, strict=args.strict, quiet=supervise, engine=engine)
    else:
        loaded = default_services(engine)
        print(f"no FILE is given: {loaded.services[0].metadata.name} is served, from the embedded weights")
    if running:
        return asyncio.run(_change(state, args, loaded.services))
    if supervise:
        with state.take_over(args.supervise):
            return asyncio.run(_serve(state, loaded, port, args))
    state.prepare()
    _check_ports(state, port)
    held = state.acquire()
    if held is None:
        raise NotNow(f"another `argosy up` is starting in {state.root}; wait for it, or choose another --state-dir")
    with held:
        state.serve_by(engine)
        return _detach(state, held, args) if args.detach else asyncio.run(_serve(state, loaded, port, args))


def found_engine(asked: str | None) -> "EnginePython | None":
    """Give what serves with vLLM; None where nobody says and there is none. Raises UserError for one that cannot."""
    from argosy.edge.processes.engine_python import look_at_python  # noqa: PLC0415 (most do without)

    path = asked or os.environ.get("ARGOSY_ENGINE_PYTHON") or (sys.executable if find_spec("vllm") else None)
    if path is None:
        return None
    engine = look_at_python(_absolute(path), os.environ)
    print(f"vLLM {engine.version}: {engine.path}", flush=True)
    return engine


def _refuse_another_engine(asked: str | None, running: "EnginePython | None") -> None:
    if asked is not None and (running is None or running.path != _absolute(asked)):
        serves = "without vLLM" if running is None else f"with the vLLM of {running.path}"
        raise NotNow(f"an instance runs {serves}; to change that, end it first: argosy down")


def _absolute(path: str) -> str:
    """Give a program by its path; not what it is a link to, since a virtual environment's Python is one."""
    return str(Path(shutil.which(path) or path).absolute())


def _check_ports(state: "StateDirectory", port: int) -> None:
    """Refuse a port that cannot be listened on, before anything is started."""
    from argosy.apps.local.node import taken_port  # noqa: PLC0415 (other verbs do without)

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            raise UserError(
                f"port {port} needs more rights than this user has; choose one above 1023: --port"
            ) from None
        except OSError:
            raise UserError(
                f"port {port} of {HOST} is in use; end what listens there, or choose another: --port"
            ) from None
    taken = taken_port(state)
    if taken is not None:
        raise UserError(
            f"a program listens at port {taken} on all addresses, so that no replica or component could; end that one"
        )


async def _serve(state: "StateDirectory", loaded: "Loaded", port: int, args: argparse.Namespace) -> int:
    """Be the supervisor until a signal comes."""
    from argosy.apps.local.supervisor import Setting, supervise  # noqa: PLC0415
    from argosy.decide.planning.installation import Installation  # noqa: PLC0415

    setting = Setting(
        installation=Installation(port=port),
        capabilities=loaded.capabilities,
        environment=dict(os.environ),
        engine=state.engine_python,
    )
    state.schedule_by(args.scheduling)
    end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _end_or_kill, end)
    serving = asyncio.create_task(supervise(state, setting, loaded.services, end=end))
    ending = asyncio.create_task(end.wait())
    if args.supervise is not None:
        await serving
        ending.cancel()
        return 0
    reporting = asyncio.create_task(_report_ready(state, os.getpid, args.timeout))
    await asyncio.wait({serving, ending, reporting}, return_when=asyncio.FIRST_COMPLETED)
    if reporting.done() and not ending.done():
        reporting.result()
        print("Ctrl-C ends it.", flush=True)
    await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
    reporting.cancel()
    if ending.done() and not serving.done():
        print("\nending: running answers finish first (Ctrl-C again ends at once) …", flush=True)
    await serving
    return 0


def _end_or_kill(end: asyncio.Event) -> None:
    if end.is_set():
        # The children are sent SIGKILL by the kernel when this process is gone.
        os._exit(130)
    end.set()


async def _report_ready(state: "StateDirectory", supervisor: Callable[[], int | None], timeout_s: float) -> bool:
    """Wait for the instance and print how to use it, or what is wrong with it; say whether it is ready.

    `supervisor` gives the supervisor's process id, or None once it has ended.
    """
    from argosy.apps.fleet.fleet import open_laptop  # noqa: PLC0415
    from argosy.cli.progress import NotReady, curl_line, wait_until_ready  # noqa: PLC0415

    async with open_laptop(state.address, supervisor_pid=None) as fleet:
        try:
            observation = await wait_until_ready(fleet, supervisor, timeout_s=timeout_s)
        except NotReady as error:
            print(f"argosy up: not ready: {error}", file=sys.stderr)
            if supervisor() is not None:
                print("It goes on trying. argosy status · argosy logs NAME · argosy down", file=sys.stderr)
            return False
    print(f"ready: {observation.gateway.url}")
    print(f"  {curl_line(observation) or 'no service has a replica (replicas: 0), so requests get 503'}", flush=True)
    return True


def _detach(state: "StateDirectory", held: IO[str], args: argparse.Namespace) -> int:
    """Start a supervisor of its own session, which takes the lock over; wait until it is ready or has given up."""
    command = [sys.executable, "-m", "argosy", "up", f"--supervise={held.fileno()}", "--state-dir", str(state.root)]
    command += [f"--port={args.port}"] if args.port is not None else []
    command += [f"--scheduling={args.scheduling.absolute()}"] if args.scheduling is not None else []
    command += ["--strict"] if args.strict else []
    command += [str(file.absolute()) for file in args.files]
    with state.open_supervisor_log() as output:
        begun_at = output.tell()
        supervisor = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[held.fileno()],
        )
    state.hand_over(held, supervisor.pid)
    try:
        return asyncio.run(_follow(state, supervisor, begun_at, args.timeout))
    except KeyboardInterrupt:
        print("\nit goes on starting in the background; argosy down ends it", file=sys.stderr)
        return 1


async def _follow(
    state: "StateDirectory", supervisor: "subprocess.Popen[bytes]", begun_at: int, timeout_s: float
) -> int:
    """Wait until a detached supervisor is ready; where it ends, print what it wrote from `begun_at` on."""

    def pid() -> int | None:
        return supervisor.pid if supervisor.poll() is None else None

    reporting = asyncio.create_task(_report_ready(state, pid, timeout_s))
    while not reporting.done() and pid() is not None:
        await asyncio.wait({reporting}, timeout=POLL_S)
    if pid() is not None:
        return 0 if reporting.result() else 1
    reporting.cancel()
    words = state.supervisor_log.read_bytes()[begun_at:][-LAST_WORDS_BYTES:]
    print(words.decode(errors="replace") or "argosy up: ended before it was ready\n", end="", file=sys.stderr)
    return max(supervisor.returncode or 0, 1)


async def _change(state: "StateDirectory", args: argparse.Namespace, services: "Iterable[LLMService]") -> int:
    """Make the running instance serve what the files say."""
    from argosy.api.gateway import Gateway  # noqa: PLC0415
    from argosy.apps.local.supervisor import make_services_so  # noqa: PLC0415
    from argosy.decide.planning.observation import installation_gateway  # noqa: PLC0415
    from argosy.decide.planning.status import gateway_url  # noqa: PLC0415
    from argosy.edge.kube.port import StoreUnavailable  # noqa: PLC0415
    from argosy.edge.kube.remote import RemoteStore  # noqa: PLC0415

    try:
        async with RemoteStore(state.address) as store:
            url = gateway_url(installation_gateway((await store.list(Gateway)).items), otherwise=HOST)
            if args.port is not None and url and f":{args.port}/" not in url:
                raise NotNow(f"an instance runs at {url}; to change its port, end it first: argosy down")
            if args.scheduling is not None:
                state.schedule_by(args.scheduling)
                print(f"running instance schedules by {args.scheduling}", flush=True)
            if args.files:
                done = await make_services_so(store, services)
                changes = [f"{what}: {', '.join(names)}" for what, names in done.items() if names]
                print(f"running instance updated; {'; '.join(changes) or 'nothing differs'}", flush=True)
    except StoreUnavailable as error:
        raise NotNow(f"the instance in {state.root} is starting or ending ({error}); try again in a moment") from error
    return 0 if await _report_ready(state, state.supervisor_pid, args.timeout) else 1
