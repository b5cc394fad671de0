"""All bugs that are on show, in one list: which check sees which, and what one sees without it."""

from tests.mutants import coupling, elbo, glow, hand, made, maf, multiscale, planar, splines

ROOMS = {
    "couplings": coupling,
    "planar flows": planar,
    "Glow": glow,
    "images": multiscale,
    "splines": splines,
    "MADE": made,
    "MAF": maf,
    "variational autoencoders": elbo,
    "gradients by hand, losses, causal nets": hand,
}
EXHIBITS = [(room, exhibit) for room, module in ROOMS.items() for exhibit in module.EXHIBITS]


def table():
    """Return the whole list as a table in Markdown; the numbers are those of the seventeen collected first."""
    lines = ["| # | bug | what was wrong | where | what one sees | what kills it |", "|---|---|---|---|---|---|"]
    for room, bug in sorted(EXHIBITS, key=lambda pair: pair[1].number or 99):
        killers = [name for name in ROOMS[room].CHECKS if name in bug.checks]
        cells = (str(bug.number or ""), bug.name, bug.bug, bug.home, bug.symptom, ", ".join(killers))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
