"""What each expert family can express and what it cannot, in words: the part of docs/experts.md that follows from the
methods and holds whatever the numbers say."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FamilyText:
    """One family, in the words of docs/experts.md.

    Attributes:
        name: short name, as in the registry of experts.
        title: the method's own name.
        path: what the position of a Gaussian is over time.
        presence: how a Gaussian comes and goes.
        neighbours: what makes Gaussians side by side move alike.
        tendency: of its trajectories, according to MoE-GS, Appendix E.
        can: what it expresses.
        cannot: what it does not.
    """

    name: str
    title: str
    path: str
    presence: str
    neighbours: str
    tendency: str
    can: str
    cannot: str


#: Those with a temporal opacity first, in the order of the tables.
FAMILIES = (
    FamilyText(
        name="stg",
        title="STG",
        path="cubic polynomial around its temporal centre",
        presence="temporal opacity: a bell around that centre",
        neighbours="nothing",
        tendency="smooth, of little curvature; moderately alike among neighbours",
        can="""
Smooth motion, and whatever is there for a moment. Position is a cubic in the time since the Gaussian's own centre,
rotation is linear in it, and opacity falls off as `exp(-(d/s)²)`. A long or winding path takes several Gaussians, each
fading into the next: the picture can then be right although no Gaussian follows the motion.""",
        cannot="""
Stay and then leave at once. A bell is full at one moment only, so that something which appears and disappears abruptly
is either shown before and after its time or thin at its ends, unless several narrow bells share the stay. A single
Gaussian bends no more often than a cubic; beyond its life its polynomial runs away, hidden by its opacity. Sizes do not
change with time, nor do colours, but for the full head's features.""",
    ),
    FamilyText(
        name="ex4dgs",
        title="Ex4DGS",
        path="straight line, or a cubic spline through keyframes",
        presence="temporal opacity of the keyframed ones: full between two centres, fading outside",
        neighbours="nothing",
        tendency="free-form; diverse even among neighbours",
        can="""
Any path, down to the distance between keyframes: positions are interpolated by a cubic Hermite spline, rotations by
slerp, each Gaussian for itself. What stays for a while has a beginning and an end of its own, each as sharp as it needs
to be, with full opacity in between. What stands still costs three numbers more than in a static model.""",
        cannot="""
Turn around between two keyframes, or share what it has learnt of a motion with its neighbours. Parameters of a moving
Gaussian grow with the length of the clip. Only what has become dynamic can come and go or leave its straight line, and
that choice is made during training, which opens the clip from its first frames on. Sizes and colours do not change
with time.""",
    ),
    FamilyText(
        name="ed3dgs",
        title="E-D3DGS",
        path="canonical position plus what two networks make of the Gaussian's and the instant's embeddings",
        presence="change of opacity by the same networks",
        neighbours="shared networks; a regulariser draws their embeddings together",
        tendency="fast, in a direction that neighbours share",
        can="""
Motion in groups. Gaussians with like embeddings move alike wherever they are, and since no position enters the
networks, Gaussians side by side may part. A coarse and a fine table of instants serve slow and quick changes. Opacity,
size and (as an option) colour change as well, for as long or as short as the tables resolve.""",
        cannot="""
Change quicker than its fine table, which is interpolated linearly between control points. One canonical set serves all
times: what it lacks cannot appear, but must be moved in from elsewhere or be kept invisible until its time. Every
rendered instant costs two network evaluations per Gaussian.""",
    ),
    FamilyText(
        name="4dgaussians",
        title="4DGaussians",
        path="canonical position plus what a network makes of features at this place and time",
        presence="change of opacity by the same network",
        neighbours="the same grid cells: nearly the same features",
        tendency="short, smooth, nearly the same among neighbours",
        can="""
Smooth deformation of whole regions. Features come from planes over pairs of x, y, z and t at the Gaussian's canonical
place, so neighbours move together even where few pixels say how. Opacity, size and (as an option) colour change as
well, and an object can appear between two rows of the temporal planes.""",
        cannot="""
Move two Gaussians of one place differently: where something slides along something still, cells hold a mixture of both.
Long or quick ways ask for features that change much from row to row, against which the planes are regularised. The
canonical set serves all times, as E-D3DGS's does. Every rendered instant costs a look-up and a network evaluation per
Gaussian.""",
    ),
)


@dataclass(frozen=True)
class Expectation:
    """A statistic of motion that Appendix E of MoE-GS leads to expect higher in one family than in another."""

    statistic: str
    higher: str
    lower: str


EXPECTATIONS = (
    Expectation("speed", "ed3dgs", "4dgaussians"),
    Expectation("coherence", "4dgaussians", "stg"),
    Expectation("coherence", "4dgaussians", "ex4dgs"),
    Expectation("coherence", "ed3dgs", "ex4dgs"),
    Expectation("coherence", "stg", "ex4dgs"),
    Expectation("turning", "ex4dgs", "stg"),
    Expectation("turning", "ex4dgs", "4dgaussians"),
)


def known_families(names: Sequence[str]) -> list[FamilyText]:
    """The families among ``names``, in the order of the tables.

    Raises:
        ValueError: a family without words.
    """
    missing = sorted(set(names) - {family.name for family in FAMILIES})
    if missing:
        raise ValueError(f"expected words about {', '.join(missing)} in {__name__}.FAMILIES, found none; add them")
    return [family for family in FAMILIES if family.name in names]


def families_text(families: Sequence[FamilyText]) -> str:
    """A table of the families, then what each can and cannot express."""
    header = ["", "position over time", "comes and goes by", "neighbours are tied by"]
    rows = [[f"**{one.title}**", one.path, one.presence, one.neighbours] for one in families]
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    for one in families:
        lines += ["", f"**{one.title}** (`moegs-{one.name}`)", ""]
        lines += [f"- Can: {one.can.strip()}", f"- Cannot: {one.cannot.strip()}"]
    # Continued lines of a list item are indented.
    text = "\n".join(lines).splitlines()
    return "\n".join(line if not line or line[0] in "|-*" else f"  {line}" for line in text) + "\n"
