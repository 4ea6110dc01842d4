"""`argosy validate`: whether files are right, and what to change."""

import argparse
from typing import Any

EXAMPLES = """examples:
  argosy validate examples/smollm2.yaml
  argosy validate services/*.yaml --strict"""


def register(subparsers: Any, summary: str) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "validate",
        help=summary,
        description="Reads LLMService files together and names every problem with file, line, field and fix. "
        "Weights that are on this machine are checked too. Exit code 2 when something is wrong.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="YAML or JSON with LLMServices; - is standard input")
    parser.add_argument("--strict", action="store_true", help="refuse stand-ins as well")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one line for each service, and the stand-ins that this machine would give."""
    from argosy.cli.files import by_name, laptop, load_files, refuse_stand_ins, stand_in_table, weights_of  # noqa: PLC0415
    from argosy.decide.planning.stand_ins import served  # noqa: PLC0415 - other verbs do not pay for it

    reading = load_files(args.files)
    here = laptop()
    weights = weights_of(reading, here, absent_ok=True)
    all_served = [served(service, here, weights) for service in reading.services]
    stand_ins = {each.service.key: each.stand_ins for each in all_served}
    if args.strict:
        refuse_stand_ins(stand_ins)
    for each in all_served:
        source = each.service.spec.model.source
        known = "weights checked" if source in weights else "weights are not on this machine: not checked"
        replicas = f"{each.replicas} replica{'' if each.replicas == 1 else 's'}"
        given = f", {len(each.stand_ins)} stand-ins" if each.stand_ins else ""
        print(f'{each.service.key}: valid, model "{each.service.model_name}", {replicas}, {known}{given}')
    table = stand_in_table(by_name(stand_ins))
    if table:
        print(f"\nOn this machine stand-ins would be given:\n{table}")
    return 0
