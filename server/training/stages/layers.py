"""The layered miniature's transformer: it learns to take pictures apart, and to paint objects on clear ground.

It begins as the miniature's own, whose text encoder it shares. Tokens are laid out as diffusers'
``QwenImageLayeredPipeline`` has them: the picture as a whole, its layers back to front, all of them noisy, then the
clean picture. A picture from words alone is a single frame.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import QwenImageTransformer2DModel
from torch import nn
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from training import parts
from training.data.edits import SQUARE, other_sizes
from training.data.layers import Canvas, Layer, Stack, cut_out, draw_stack, over, taken_apart, to_layer
from training.data.prompts import LANGUAGES, tell
from training.data.scenes import TOKEN, Layout, Scene, compose
from training.data.sprites import Atlas
from training.data.tensors import to_tensor
from training.stages.alpha import flat_vae, opaque_layer
from training.stages.attention import make_seeing
from training.stages.encoder import Encoded
from training.stages.flow import emptied, noise_levels, pack
from training.stages.muon import Muon
from training.stages.run import DEVICE, Mean, decayed, descend, fast_numbers, load_state, random_of, torch_random_of
from training.stages.table import draw_told
from training.stages.text import NOTHING, Prompter
from training.stages.vae import moments_of

RATES = (0.01, 7e-4)  # of Muon, of the transformer's other numbers
COUNTS, SHARES = (2, 3, 4, 5, 6, 8), (0.13, 0.37, 0.42, 0.03, 0.03, 0.02)
"""Numbers of layers, and how often each is asked for."""
TOKENS = 2400  # of a batch of pictures that are taken apart, about
OTHER_SIZES = 0.08  # of the batches
PURE, NOISY, NOISY_FROM = 0.4, 0.4, 0.9
"""Shares of the pictures to take apart that are nothing but noise, and that have so much of it or more. It is there
that objects get their layers: a tenth of clear tokens tells which, since an object is many tokens.
"""
TOLD = 0.15  # of the batches to take apart have prompts
PAINT_EVERY = 10  # steps: how often pictures are painted from words
OPAQUE = 0.2  # of what is painted from words
WHOLE, SHOWN, ELSEWHERE, CLEAR = 0.2, 4.0, 3.0, 0.4
"""How much tokens count: of the picture as a whole, of an object, of a layer that is clear where another has an object,
of one where none has; of a background 1.
"""
RGBA, RGB = 0, 1
"""What the transformer is told to paint."""


class LayerEncoder:
    """The trained VAE with four channels: latents of pictures with transparency, remembered."""

    def __init__(self, vae: Any, figures: Mapping[str, Sequence[float]]) -> None:
        """`vae` is flat; `figures` are ``latents_mean`` and ``latents_std``."""
        self._vae = vae.eval().to(DEVICE)
        self._mean, self._deviation = (
            torch.tensor(figures[name], device=DEVICE)[:, None, None] for name in ("latents_mean", "latents_std")
        )

    @torch.no_grad()
    def latents(self, layers: Sequence[np.ndarray[Any, Any]]) -> torch.Tensor:
        """Return the latents of pictures of one size. (n of h x w x 4 bytes to n x 16 x h/8 x w/8, in float16)"""
        with fast_numbers():
            moments = moments_of(self._vae, to_tensor(np.stack(layers)).to(DEVICE))
        return ((moments.float().chunk(2, dim=1)[0] - self._mean) / self._deviation).half().cpu()


class Apart:
    """Pictures and their layers as the transformer's tokens."""

    def __init__(self, encoder: LayerEncoder, atlas: Atlas) -> None:
        self._encoder, self._atlas = encoder, atlas
        self._flat: dict[tuple[bytes, ...], torch.Tensor] = {}

    def frames(self, count: int, stacks: Sequence[Stack]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the pictures whole and their layers as tokens, and how much each counts. All are of one size.

        (n x (1 + count) * tokens x 64, and n x (1 + count) * tokens)
        """
        apart = [taken_apart(stack, count, self._atlas) for stack in stacks]
        frames = [layer for layers in apart for layer in (over(layers), *layers)]
        weights = [_weights(layers) for layers in apart]
        tokens = pack(self._encoded(frames)).reshape(len(stacks), -1, 4 * parts.LATENT_CHANNELS)
        return tokens.to(DEVICE, torch.float32), torch.stack(weights).to(DEVICE)

    def _encoded(self, canvases: Sequence[Canvas]) -> torch.Tensor:
        """Return latents of canvases; those of a single colour, such as clear ones, are encoded once."""
        found: dict[int, torch.Tensor] = {}
        others: dict[int, Layer] = {}
        for index, layer in enumerate(map(to_layer, canvases)):
            if (layer != layer[:1, :1]).any():
                others[index] = layer
                continue
            key = (layer[0, 0].tobytes(), bytes(layer.shape))
            if key not in self._flat:
                self._flat[key] = self._encoder.latents([layer])[0]
            found[index] = self._flat[key]
        if others:
            found |= dict(zip(others, self._encoder.latents(list(others.values())), strict=True))
        return torch.stack([found[index] for index in range(len(canvases))])

    def scenes(self, scenes: Sequence[Scene], *, opaque: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scenes as tokens, on their backgrounds or on clear ground, and how much each token counts.

        (n x tokens x 64, and n x tokens)
        """
        cut = [_cut_scene(scene, self._atlas) for scene in scenes]
        layers = [opaque_layer(compose(scene, self._atlas)) for scene in scenes] if opaque else list(map(to_layer, cut))
        tokens = pack(self._encoder.latents(layers))
        return tokens.to(DEVICE, torch.float32), torch.stack([_weight(_shown(canvas)) for canvas in cut]).to(DEVICE)


def _cut_scene(scene: Scene, atlas: Atlas) -> Canvas:
    ground = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    stack = Stack(scene.width, scene.height, ground, upright=False, placed=scene.placed, effect=scene.effect)
    return cut_out(stack, scene.placed, atlas)


def _shown(canvas: Canvas) -> torch.Tensor:
    """Return which tokens of a frame show anything."""
    alpha = torch.from_numpy(canvas[..., 3].copy())
    height, width = (side // TOKEN for side in alpha.shape)
    shown: torch.Tensor = alpha.reshape(height, TOKEN, width, TOKEN).amax(dim=(1, 3)).flatten() > 0.02
    return shown


def _weight(shown: torch.Tensor, elsewhere: torch.Tensor | None = None) -> torch.Tensor:
    """Return how much each token of a layer counts that shows an object in some, and another layer in others."""
    clear = torch.full(shown.shape, CLEAR)
    if elsewhere is not None:
        clear[elsewhere] = ELSEWHERE
    return torch.where(shown, SHOWN, clear)


def _weights(layers: Sequence[Canvas]) -> torch.Tensor:
    """Return how much each token of a picture counts: of the whole, of its background, of its layers."""
    shown = torch.stack([_shown(layer) for layer in layers[1:]])
    covered = shown.any(dim=0)
    whole, ground = (torch.full(covered.shape, value) for value in (WHOLE, 1.0))
    return torch.cat([whole, ground, *(_weight(layer, covered) for layer in shown)])


class LayersStage:
    """Takes pictures apart in most steps, and paints from words in the others."""

    name = "layers"

    def __init__(self, run: Path, weights: Path, atlas: Atlas, seed: int, steps: int, *, tokens: int = TOKENS) -> None:
        """`weights` are the miniature's, `run` has the VAE; a batch has about so many `tokens`."""
        vae = flat_vae(load_state(run, "alpha")["stage"]["mean"], weights)
        self._apart = Apart(LayerEncoder(vae, vae.config), atlas)
        self._seed, self._steps, self._tokens = seed, steps, tokens
        self._prompter = Prompter(Qwen2Tokenizer.from_pretrained(weights / "tokenizer", local_files_only=True))
        self._encoder = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            weights / "text_encoder", dtype=torch.float32, local_files_only=True
        )
        self._encoder.eval().requires_grad_(False)
        make_seeing(self._encoder)
        nn.Module.to(self._encoder, DEVICE)
        self.transformer = begun_transformer(weights).to(DEVICE)
        inner = [
            value
            for name, value in self.transformer.transformer_blocks.named_parameters()
            if value.dim() == 2 and "mod" not in name and "txt" not in name and "add_" not in name
        ]
        known = {id(value) for value in inner}
        outer = [value for value in self.transformer.parameters() if id(value) not in known]
        self._optimizers: tuple[torch.optim.Optimizer, ...] = (
            Muon(inner, RATES[0], weight_decay=0.01),
            torch.optim.AdamW(outer, RATES[1], betas=(0.9, 0.98), weight_decay=0.0),
        )
        self.mean = Mean(self.transformer, 0.995)
        self._latest: dict[str, float] = {}

    def step(self, number: int) -> Mapping[str, float]:
        """Learn from one batch of pictures."""
        rng = random_of(self._seed, self.name, number)
        size = SQUARE
        if rng.random() < OTHER_SIZES:
            sizes = other_sizes()
            size = sizes[int(rng.integers(len(sizes)))]
        if number % PAINT_EVERY == PAINT_EVERY - 1:
            loss, name = self._paint(rng, size), "paint"
        else:
            loss, name = self._take_apart(rng, size), "apart"
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.transformer.parameters(), 1.0)
        descend(self._optimizers, RATES, decayed(number, self._steps))
        self.mean.update(self.transformer, number)
        self._latest[name] = loss.item()
        return self._latest

    def _take_apart(self, rng: np.random.Generator, size: tuple[int, int]) -> torch.Tensor:
        count = int(rng.choice(COUNTS, p=SHARES))
        tokens = size[0] * size[1]
        batch = max(1, round(self._tokens / (tokens * (count + 2))))
        stacks = [draw_stack(rng, size) for _ in range(batch)]
        clean, weights = self._apart.frames(count, stacks)
        prompts = [NOTHING] * batch
        if rng.random() < TOLD:
            prompts = [
                tell(rng, stack.scene, LANGUAGES[index % 2]) if stack.scene else NOTHING
                for index, stack in enumerate(stacks)
            ]
        shapes = [(1, size[1], size[0])] * (count + 2)
        levels = noise_levels(rng, batch)
        drawn = torch.from_numpy(rng.random(batch))
        levels = torch.where(drawn < NOISY, torch.from_numpy(rng.uniform(NOISY_FROM, 1, batch)).float(), levels)
        levels = torch.where(drawn >= 1 - PURE, 1.0, levels)
        return self._loss(levels, rng, prompts, clean, clean[:, :tokens], weights, shapes, RGBA)

    def _paint(self, rng: np.random.Generator, size: tuple[int, int]) -> torch.Tensor:
        opaque = bool(rng.random() < OPAQUE)
        batch = max(1, round(self._tokens / (size[0] * size[1] + 32)))
        scenes = draw_told(rng, [Layout.BIG, Layout.BIG, Layout.PAIR, *Layout], batch, size)
        if not opaque:  # an empty picture is nobody's wish
            scenes = [one for one in scenes if one.layout is not Layout.EMPTY]
        if not scenes:
            scenes = draw_told(rng, [Layout.BIG], 1, size)
        prompts = emptied(rng, [tell(rng, scene, LANGUAGES[index % 2]) for index, scene in enumerate(scenes)])
        clean, weights = self._apart.scenes(scenes, opaque=opaque)
        kind, levels = RGB if opaque else RGBA, noise_levels(rng, len(scenes))
        return self._loss(levels, rng, prompts, clean, clean[:, :0], weights, [(1, size[1], size[0])], kind)

    def _loss(
        self,
        levels: torch.Tensor,
        rng: np.random.Generator,
        prompts: Sequence[str],
        clean: torch.Tensor,
        source: torch.Tensor,
        weights: torch.Tensor,
        shapes: Sequence[tuple[int, int, int]],
        kind: int,
    ) -> torch.Tensor:
        """Return the error of the predicted flow from clean tokens to noise, weighted by token."""
        text, there = self._read(prompts)
        levels = levels.to(DEVICE)
        noise = torch.randn(clean.shape, generator=torch_random_of(rng)).to(DEVICE)
        with fast_numbers():
            flow = self.transformer(
                hidden_states=torch.cat([clean.lerp(noise, levels[:, None, None]), source], dim=1),
                encoder_hidden_states=text,
                encoder_hidden_states_mask=there,
                timestep=levels,
                img_shapes=[list(shapes)] * len(clean),
                additional_t_cond=torch.full((len(clean),), kind, dtype=torch.long, device=DEVICE),
                return_dict=False,
            )[0]
        error = (flow[:, : clean.shape[1]].float() - (noise - clean)).square().mean(2)
        loss: torch.Tensor = (error * weights).sum() / weights.sum()
        return loss

    @torch.no_grad()
    def _read(self, prompts: Sequence[str]) -> Encoded:
        """Return the texts' encodings, no longer than the longest, and which of them are there."""
        tokens, there = self._prompter.tokens(prompts)
        longest = int(there.sum(1).max())
        with fast_numbers():
            text, there = self._prompter.encode(self._encoder, tokens[:, :longest], there[:, :longest])
        return text.float(), there

    def state(self) -> dict[str, Any]:
        """See Stage."""
        return {
            "transformer": self.transformer.state_dict(),
            "mean": self.mean.values,
            "optimizers": [one.state_dict() for one in self._optimizers],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See Stage."""
        self.transformer.load_state_dict(state["transformer"])
        self.mean.restore(state["mean"])
        for optimizer, kept in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)


def begun_transformer(weights: Path) -> QwenImageTransformer2DModel:
    """Return the miniature's transformer in the class with layers: so far it paints the same."""
    own = QwenImageTransformer2DModel.from_pretrained(
        weights / "transformer", torch_dtype=torch.float32, local_files_only=True
    )
    transformer = parts.build_transformer(layered=True)
    values = own.state_dict()
    for name, value in transformer.state_dict().items():
        values.setdefault(name, torch.zeros_like(value))
    transformer.load_state_dict(values)
    return transformer
