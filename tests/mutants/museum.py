"""All bugs that are on show, in one list: which check sees which, and what one sees without it."""

import re

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

ASKS = {  # every check of every room, as the question that it asks
    "round trip": "does the inverse of the forward map give the points back?",
    "cancel": "do the log-determinants of the two directions add up to 0?",
    "log-det": "are the log-determinants those of the Jacobian, computed in full?",
    "batch": "does a point's answer stay when the other points change?",
    "mass": "does the density integrate to 1 over a grid?",
    "start": "is the start what it should be: the identity, or mean 0 and spread 1?",
    "no spread": "is everything finite when a channel of the data is constant?",
    "reload": "do saved parameters mean the same in a fresh object?",
    "singular": "does a matrix of determinant 0 raise an error?",
    "blocks": "does every pixel that comes out see its own block only?",
    "bits": "does the uniform density on 16 levels take 4 bits a number?",
    "tails": "is a spline the identity outside its interval, without a jump or a kink?",
    "extreme": "is everything finite at extreme parameters?",
    "leak": "does no output depend on what it must not see?",
    "lost": "does every output depend on all that it may see?",
    "context": "does every output depend on the context?",
    "evidence": "is ELBO plus divergence equal to log p(x) where that is known?",
    "never above": "does the ELBO stay at or below log p(x)?",
    "two forms": "do the two ways of writing the ELBO agree?",
    "one draw": "is the importance-weighted bound with one draw the ELBO?",
    "rises": "does that bound rise with more draws?",
    "reaches log p": "does it reach log p(x) with many draws?",
    "gradient": "is the bound's gradient that of finite differences of a correct one?",
    "codes": "do codebook and encoder get the gradients of the formula?",
    "best classifier": "is the gradient 0 at the best classifier?",
    "finite differences": "is the gradient by hand that of finite differences?",
}


def killers(room, bug):
    """Return the names of the checks that see a bug, in the order of the room."""
    return [name for name in ROOMS[room].CHECKS if name in bug.checks]


def linked(home):
    """Turn `owner/repository#12` and `owner/repository PR#12` into links; a bare repository stays as it is."""
    kinds = {"#": "issues", " PR#": "pull"}
    return re.sub(
        r"([\w.-]+/[\w.-]+)( PR#|#)(\d+)",
        lambda found: f"[{found[0]}](https://github.com/{found[1]}/{kinds[found[2]]}/{found[3]})",
        home,
    )


def page():
    """Return every room with its bugs as Markdown for the book, and the questions of the checks."""
    lines = ["## The checks", "", *(f"- **{name}**: {question}" for name, question in ASKS.items()), ""]
    for room in ROOMS:
        lines += [f"## {room[0].upper()}{room[1:]}", ""]
        bugs = [bug for place, bug in EXHIBITS if place == room]
        for bug in sorted(bugs, key=lambda bug: bug.number or 99):
            title = f"{f'{bug.number}. ' if bug.number else ''}{bug.name[0].upper()}{bug.name[1:]}"
            where = f"*Where:* {linked(bug.home)}." if bug.number else f"*How it comes about:* {bug.home}."
            lines += [
                f"**{title}.** {bug.bug} *What one sees:* {bug.symptom}. {where}",
                f"*Caught by:* {', '.join(killers(room, bug))}.",
                "",
            ]
    return "\n".join(lines)


def table():
    """Return the whole list as a table in Markdown; the numbers are those of the seventeen collected first."""
    lines = ["| # | bug | what was wrong | where | what one sees | what kills it |", "|---|---|---|---|---|---|"]
    for room, bug in sorted(EXHIBITS, key=lambda pair: pair[1].number or 99):
        cells = (str(bug.number or ""), bug.name, bug.bug, bug.home, bug.symptom, ", ".join(killers(room, bug)))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
