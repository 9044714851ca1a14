"""Layers as they are delivered: the picture's own pixels where one layer alone is seen, soft edges between layers."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from qwen_image_studio.painting.layering import CLEAR, SOLID, crisp, laid_back, recomposed

Mask = NDArray[np.bool_]
SIZE = (48, 40)
BLUE, RED = (30, 60, 200), (220, 40, 30)
DISC = (10, 8, 30, 28)


def ground(colour: Sequence[int] = BLUE, alpha: int = 255) -> Image.Image:
    """A layer of one colour."""
    return Image.new("RGBA", SIZE, (*colour, alpha))


def disc(colour: Sequence[int] = RED, alpha: int = 255, box: Sequence[int] = DISC) -> Image.Image:
    """A disc with soft edges on clear ground."""
    large = Image.new("L", (SIZE[0] * 4, SIZE[1] * 4), 0)
    ImageDraw.Draw(large).ellipse([4 * side for side in box], fill=alpha)
    layer = ground(colour)
    layer.putalpha(large.resize(SIZE, Image.Resampling.BOX))
    return layer


def noisy(picture: Image.Image, seed: int = 0, most: int = 9) -> Image.Image:
    """The picture as a model brings it back: every number of every channel a little off."""
    pixels = np.asarray(picture).astype(int)
    pixels += np.random.default_rng(seed).integers(-most, most + 1, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture
def picture() -> Image.Image:
    """A grainy picture of a disc before a ground, in RGB."""
    return noisy(Image.alpha_composite(ground(), disc()).convert("RGB"), seed=5, most=6)


def well_inside(layer: Image.Image) -> Mask:
    """Where a layer is opaque, but for its rim."""
    return ndimage.binary_erosion(np.asarray(layer)[..., 3] == 255, iterations=2)


def well_outside(layer: Image.Image) -> Mask:
    """Where a layer is clear, but for what borders on it."""
    return ndimage.binary_erosion(np.asarray(layer)[..., 3] == 0, iterations=2, border_value=1)


def test_where_one_layer_is_seen_it_has_the_pictures_own_pixels(picture: Image.Image) -> None:
    back, front = laid_back(picture, [noisy(ground()), noisy(disc(), 1)], SIZE)
    own, alpha = np.asarray(picture), np.asarray(disc())[..., 3]
    inside, outside = well_inside(disc()), well_outside(disc())
    assert inside.sum() > 150
    assert (np.asarray(front)[inside] == np.dstack([own, np.full(own.shape[:2], 255)])[inside]).all()
    assert (np.asarray(back)[outside][:, :3] == own[outside]).all()
    assert not np.asarray(front)[outside].any()  # nor any colour that nobody sees
    # What the disc covers, and its soft edge, nobody but the model knows.
    assert (np.abs(np.asarray(back)[inside][:, :3].astype(int) - BLUE) <= 9).all()
    made = np.asarray(front)
    edge = (made[..., 3] > 0) & (made[..., 3] < 255)
    assert edge.sum() > 20
    assert (np.abs(made[edge][:, :3].astype(int) - RED) <= 9).all()
    # The edge is as soft as the picture has it.
    assert np.abs(made[..., 3].astype(int) - alpha)[edge].mean() < 40


def test_the_layers_make_the_picture_again_to_the_bit(picture: Image.Image) -> None:
    layers = laid_back(picture, [noisy(ground()), noisy(disc(), 1)], SIZE)
    together = recomposed(layers)
    assert together.mode == "RGB"
    sure = well_inside(disc()) | well_outside(disc())
    assert (np.asarray(together)[sure] == np.asarray(picture)[sure]).all()
    # Any program that lays layers over each other gets the same.
    by_hand = Image.alpha_composite(layers[0], layers[1]).convert("RGB")
    assert by_hand.tobytes() == together.tobytes()


def test_an_edge_has_the_colour_further_in_where_the_model_lets_it_fade_to_white(picture: Image.Image) -> None:
    faded = np.array(disc())
    share = faded[..., 3:] / 255
    faded[..., :3] = (faded[..., :3] * share + 255 * (1 - share)).astype(np.uint8)
    made = np.asarray(laid_back(picture, [ground(), Image.fromarray(faded)], SIZE)[1])
    edge = (made[..., 3] > 0) & (made[..., 3] < 255)
    assert edge.sum() > 20
    assert (np.abs(made[edge][:, :3].astype(int) - RED) <= 9).all()


@pytest.mark.parametrize("colour", [RED, (250, 250, 250), (0, 0, 0)])
@pytest.mark.parametrize("alpha", [90, 160])
def test_what_is_translucent_remains_so_and_mixes_to_the_picture(colour: Sequence[int], alpha: int) -> None:
    back = Image.new("RGBA", (96, 96), (*BLUE, 255))
    front = np.zeros((96, 96, 4), np.uint8)
    front[:, :64] = (*colour, 255)
    front[30:60, 16:48, 3] = alpha  # a pane of glass
    picture = noisy(Image.alpha_composite(back, Image.fromarray(front)).convert("RGB"), seed=5, most=6)
    layers = laid_back(picture, [noisy(back), noisy(Image.fromarray(front), 1)], picture.size)
    made = np.asarray(recomposed(layers)).astype(int)
    assert np.abs(made - np.asarray(picture))[:, :60].max() <= 2
    pane = np.asarray(layers[1])[36:54, 22:42, 3]
    assert ((pane > 32) & (pane < 240)).mean() > 0.95


def test_a_picture_that_no_layer_covers_is_background(picture: Image.Image) -> None:
    holes = ground()
    holes.putalpha(noisy(Image.new("L", SIZE, 60), most=60))
    back, front = laid_back(picture, [holes, disc(alpha=0)], SIZE)
    assert back.convert("RGB").tobytes() == picture.tobytes()
    assert back.getchannel("A").getextrema() == (255, 255)
    assert not np.asarray(front).any()


@pytest.mark.parametrize("count", [2, 3, 8])
def test_layers_for_which_there_is_nothing_are_clear(picture: Image.Image, count: int) -> None:
    nothing = [noisy(disc(alpha=0), seed, most=CLEAR - 1) for seed in range(count - 1)]
    layers = laid_back(picture, [ground(), *nothing], SIZE)
    assert len(layers) == count
    assert not any(np.asarray(layer).any() for layer in layers[1:])
    assert recomposed(layers).tobytes() == picture.tobytes()


def test_what_two_layers_claim_remains_in_one(picture: Image.Image) -> None:
    layers = laid_back(picture, [ground(), disc(), disc(BLUE)], SIZE)
    inside = well_inside(disc())
    assert (np.asarray(layers[1])[inside][:, :3] == np.asarray(picture)[inside]).all()
    assert not np.asarray(layers[2])[inside].any()


def test_of_two_things_in_two_layers_each_gets_one() -> None:
    left, right = disc(box=(2, 8, 18, 24)), disc(box=(28, 8, 44, 24))
    both = Image.alpha_composite(left, right)
    picture = Image.alpha_composite(ground(), both).convert("RGB")
    for painted in ([both, both], [both, right], [left, both]):
        _, first, second = laid_back(picture, [ground(), *painted], SIZE)
        for layer, mine, other in ((first, left, right), (second, right, left)):
            assert (np.asarray(layer)[well_inside(mine)][:, 3] == 255).all()
            assert not np.asarray(layer)[well_inside(other)].any()


def test_an_edge_that_the_model_missed_is_that_of_the_picture(picture: Image.Image) -> None:
    x, y, right, bottom = DISC
    rough = Image.new("RGBA", SIZE, (*RED, 0))
    rough.paste((*RED, 255), (x + 3, y + 3, right - 4, bottom - 3))
    _, front = laid_back(picture, [ground(), rough], SIZE)
    shown, true = (np.asarray(layer)[..., 3] > 127 for layer in (front, disc()))
    assert (shown & true).sum() / (shown | true).sum() > 0.95


def test_a_picture_that_the_model_does_not_bring_back_tells_nothing() -> None:
    grainy = noisy(Image.new("RGB", SIZE, (128, 128, 128)), most=120)
    painted = [ground((128, 128, 128)), disc()]
    _, front = laid_back(grainy, painted, SIZE)
    shown, meant = (np.asarray(layer)[..., 3] > 127 for layer in (front, disc()))
    assert (shown == meant).all()


def test_what_is_clear_in_the_picture_is_clear_in_every_layer() -> None:
    seen = disc(alpha=200)
    layers = laid_back(seen, [noisy(ground(alpha=0)), noisy(disc(), 1)], SIZE)
    outside = np.asarray(seen)[..., 3] == 0
    assert not any(np.asarray(layer)[outside].any() for layer in layers)
    together = recomposed(layers)
    inside = well_inside(disc())
    assert together.mode == "RGBA"
    assert (np.asarray(together)[inside] == np.asarray(seen)[inside]).all()


def test_layers_come_at_the_pictures_size_whatever_the_size_they_were_painted_at(picture: Image.Image) -> None:
    small = [layer.resize((24, 20)) for layer in (ground(), disc())]
    layers = laid_back(picture, small, SIZE)
    assert {layer.size for layer in layers} == {SIZE}
    assert (np.asarray(recomposed(layers))[:4] == np.asarray(picture)[:4]).all()


def test_many_rows_are_worked_on_in_parts() -> None:
    tall = noisy(Image.new("RGB", (8, 700), BLUE), most=40)
    layers = laid_back(tall, [Image.new("RGBA", (8, 700), (*BLUE, 255)), Image.new("RGBA", (8, 700))], tall.size)
    assert recomposed(layers).tobytes() == tall.tobytes()


def test_alpha_that_is_nearly_none_or_all_is_made_so() -> None:
    ramp = Image.new("RGBA", (256, 1))
    ramp.putdata([(9, 9, 9, alpha) for alpha in range(256)])
    alpha = np.asarray(crisp(ramp))[0, :, 3].astype(int)
    assert not alpha[: CLEAR + 1].any()
    assert (alpha[SOLID:] == 255).all()
    assert (np.diff(alpha) >= 0).all()
    assert (np.diff(alpha).max(), alpha[128]) == (2, 128)
