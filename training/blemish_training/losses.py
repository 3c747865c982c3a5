"""The terms of the training loss. A batch is compared with prompt ensembles, captions and the names
of defects, as whole pictures, as patches and as small windows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import words
from .model import WIDTH, Hybrid, Norm, PatchLayers, on_device
from .pictures.families import TYPES
from .stock import names

COVERED = 0.04
"""A patch counts as defective from this share on. Between 0 and this it is ignored."""

GRID = 15


@dataclass
class Batch:
    """Pictures [n, 3, side, side], normalised; the defective share of each patch [n, grid^2]; the
    number of each one's family and defect."""

    pixels: Tensor
    coverage: Tensor
    families: list[str]
    family_numbers: Tensor
    defects: Tensor

    def on_device(self) -> Batch:
        """The same batch on the thread's device."""
        device = torch.get_default_device()
        moved = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved)


@dataclass
class Texts:
    """Text embeddings of one batch: the two ensembles of each picture [n, 2, embedding], its
    caption [n, embedding], whom each caption fits [n, n], the defect types [types, embedding]."""

    ensembles: Tensor
    captions: Tensor
    fits: Tensor
    types: Tensor


class Tokens:
    """The tokenizer with a memory."""

    def __init__(self, folder, context: int):
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.context, self.known = context, {}

    def __call__(self, texts: list[str], end: int) -> Tensor:
        """[texts, longest], padded with the end token."""
        for text in texts:
            if text not in self.known:
                ids = self.tokenizer.encode(text).ids
                cut = len(ids) > self.context
                self.known[text] = ids[: self.context - 1] + [end] if cut else ids
        rows = [self.known[text] for text in texts]
        longest = max(map(len, rows))
        return torch.tensor([row + [end] * (longest - len(row)) for row in rows])


def texts_for(model: Hybrid, batch: Batch, tokens: Tokens, lots: np.random.Generator) -> Texts:
    """Draws texts for a batch and encodes them in one pass."""
    some = [str(f) for f in lots.permutation(sorted(set(batch.families)))[:4]]
    subjects = [words.choose(lots, names(family)) for family in some]
    subjects += [words.choose(lots, words.GENERIC) for _ in range(2)] + [words.made_up_name(lots)]
    ensembles = [words.ensemble(subject, lots) for subject in subjects]
    of = []
    for family in batch.families:
        own = family in some and lots.random() < 0.6
        of.append(some.index(family) if own else lots.integers(len(some), len(subjects)))
    defects = batch.defects.tolist()
    captions = [
        words.caption(family, names(family), TYPES[defect], lots)
        for family, defect in zip(batch.families, defects, strict=True)
    ]
    subject = words.any_name(lots) if lots.random() < 0.5 else words.choose(lots, subjects)
    types = words.type_texts(subject, lots)

    texts = [text for e in ensembles for text in e.normal + e.anomalous]
    texts += [caption.text for caption in captions] + types
    encoded = model.text(tokens(texts, model.config["text_config"]["eos_token_id"]), torch.bfloat16)
    rows, at = [], 0
    for e in ensembles:
        normal, anomalous = len(e.normal), len(e.anomalous)
        means = [encoded[at : at + normal].mean(0), encoded[at + normal :][:anomalous].mean(0)]
        rows.append(F.normalize(torch.stack(means), dim=-1))
        at += normal + anomalous
    fits = torch.tensor(
        [
            [
                (c.family is None or c.family == family)
                and (TYPES[defect] == c.defect or (c.defect is None and defect > 0))
                for c in captions
            ]
            for family, defect in zip(batch.families, defects, strict=True)
        ]
    ).float()
    return Texts(
        torch.stack(rows)[torch.tensor(np.array(of))],
        encoded[at : at + len(captions)],
        fits,
        encoded[at + len(captions) :],
    )


class Helpers(nn.Module):
    """Parts that only training needs: linear heads for family and type."""

    def __init__(self, families: int):
        super().__init__()
        self.family = nn.Linear(WIDTH, families)
        self.defect = nn.Linear(WIDTH, len(TYPES))
        self.patch_defects = nn.ModuleList(nn.Linear(WIDTH, len(TYPES)) for _ in range(2))
        self.norms = nn.ModuleList(Norm(WIDTH) for _ in range(2))


def image_terms(model: Hybrid, batch: Batch, texts: Texts, image: Tensor, seen: Tensor) -> dict:
    """Whole pictures against ensembles, captions and types. `seen`: the share of each patch in the
    visible part, [n, patches]."""
    most = seen.max(1).values
    clear = (most == 0) | (most >= COVERED)
    defective = (most >= COVERED).long()
    kinds = torch.where(defective > 0, batch.defects, 0)
    scale = model.factor()
    logits = scale * torch.einsum("be,bke->bk", image, texts.ensembles)
    similar = scale * image @ texts.captions.t()
    rows, columns = texts.fits.sum(1) > 0, texts.fits.sum(0) > 0

    def shared(log_shares: Tensor, axis: int, kept: Tensor) -> Tensor:
        # Several captions may fit a picture, so the target is spread over them.
        total = (texts.fits * log_shares).sum(axis)[kept] / texts.fits.sum(axis)[kept]
        return -total.mean()

    captions = shared(F.log_softmax(similar, 1), 1, rows)
    captions = captions + shared(F.log_softmax(similar, 0), 0, columns)
    types = (scale * image @ texts.types.t())[clear]
    return {
        "image": F.cross_entropy(logits[clear], defective[clear]),
        "captions": captions / 2,
        "types": F.cross_entropy(types, kinds[clear], label_smoothing=0.05),
        "accuracy": (logits.argmax(1) == defective)[clear].float().mean().detach(),
    }


def dense_loss(patches: Tensor, ensembles: Tensor, seen: Tensor, scale: Tensor) -> Tensor:
    """Focal and dice loss (April-GAN, section 3.1) of patches [n, patches, embedding]."""
    logits = scale * torch.einsum("bne,bke->bnk", patches, ensembles)
    logit = logits[..., 1] - logits[..., 0]
    target = (seen >= COVERED).float()
    weight = ((seen == 0) | (seen >= COVERED)).float()
    share = torch.sigmoid(logit)
    entropy = F.binary_cross_entropy_with_logits(logit, target, reduction="none")
    right = share * target + (1 - share) * (1 - target)
    focal = ((1 - right) ** 2 * entropy * weight * (1 + 2 * target)).sum() / weight.sum()
    share, target = share * weight, target * weight
    overlap = 2 * (share * target).sum(1) + 1
    dice = 1 - overlap / (share.sum(1) + target.sum(1) + 1)
    some = target.sum(1) > 0
    return 4 * focal + (0.7 * dice[some].mean() if some.any() else 0)


def dense_terms(
    model: Hybrid, batch: Batch, texts: Texts, patches: list[Tensor], seen: Tensor
) -> dict:
    """The patches of each block against the ensembles, and the last ones against the types."""
    scale = model.factor()
    losses = [dense_loss(block, texts.ensembles, seen, scale) for block in patches]
    terms = {"dense": torch.stack(losses).mean()}
    places = torch.nonzero(seen >= COVERED)
    if len(places):
        places = places[torch.randperm(len(places))[:128]]
        logits = scale * patches[-1][places[:, 0], places[:, 1]] @ texts.types.t()
        kinds = batch.defects[places[:, 0]]
        terms["dense types"] = F.cross_entropy(logits, kinds, label_smoothing=0.05)
    return terms


def helper_terms(
    helpers: Helpers, batch: Batch, outputs: list[Tensor], final: Tensor, seen: Tensor
) -> dict:
    """Linear heads on the class token and on patches of the fourth and the last block."""
    most = seen.max(1).values
    clear = (most == 0) | (most >= COVERED)
    kinds = torch.where(most >= COVERED, batch.defects, 0)
    loss = 0.5 * F.cross_entropy(helpers.family(final), batch.family_numbers)
    loss = loss + F.cross_entropy(helpers.defect(final)[clear], kinds[clear])
    defective = seen >= COVERED
    few_good = (torch.rand_like(seen) < 0.06) & (seen == 0)
    places = torch.nonzero(defective | few_good)
    target = torch.where(defective, batch.defects[:, None], 0)[places[:, 0], places[:, 1]]
    weight = torch.ones(len(TYPES))
    weight[0] = 0.25
    heads = zip((outputs[3], outputs[5]), helpers.patch_defects, helpers.norms, strict=True)
    for output, head, norm in heads:
        rows = norm(output[places[:, 0], places[:, 1] + 1].float())
        loss = loss + 0.5 * F.cross_entropy(head(rows), target, weight=weight)
    return {"helpers": loss}


def window_places(
    coverage: np.ndarray, side: int, lots: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Two windows of each picture, half of them on a defect: rows of patches [n, 2 * side^2]."""
    each = 2
    corners = lots.integers(0, GRID + 1 - side, (len(coverage), each, 2))
    for i, grid in enumerate(coverage.reshape(-1, GRID, GRID)):
        defects = np.argwhere(grid >= COVERED)
        for j in range(each):
            if len(defects) and lots.random() < 0.55:
                corner = defects[lots.integers(len(defects))] - lots.integers(0, side, 2)
                corners[i, j] = corner.clip(0, GRID - side)
    steps = np.arange(side)
    rows = corners[..., 0, None, None] + steps[:, None]
    columns = corners[..., 1, None, None] + steps
    return (rows * GRID + columns).reshape(len(coverage), -1), each


def window_term(
    model: Hybrid, batch: Batch, texts: Texts, tokens: Tensor, lots: np.random.Generator
) -> dict:
    """Windows of 2x2 and 3x3 patches, passed alone through the tower, against the ensembles."""
    loss = 0
    for side in (2, 3):
        places, each = window_places(batch.coverage.cpu().numpy(), side, lots)
        places = on_device(places)
        width = tokens.shape[-1]
        picked = torch.gather(tokens[:, 1:], 1, places[..., None].expand(-1, -1, width))
        picked = picked.reshape(-1, side * side, width)
        first = tokens[:, :1].expand(-1, each, -1).reshape(-1, 1, width)
        image = model.image(model.blocks(torch.cat([first, picked], 1))[-1])
        most = torch.gather(batch.coverage, 1, places).view(len(image), -1).max(1).values
        clear = (most == 0) | (most >= COVERED)
        ensembles = texts.ensembles.repeat_interleave(each, 0)
        logits = model.factor() * torch.einsum("be,bke->bk", image, ensembles)
        target = (most >= COVERED).long()
        loss = loss + 0.5 * F.cross_entropy(logits[clear], target[clear])
    return {"windows": loss}


def cropped(tokens: Tensor, coverage: Tensor, side: int, lots: np.random.Generator):
    """A random square of each picture's tokens, with its class token, and the square's coverage."""
    corners = lots.integers(0, GRID + 1 - side, (len(tokens), 2))
    steps = np.arange(side)
    rows, columns = corners[:, 0, None, None] + steps[:, None], corners[:, 1, None, None] + steps
    places = on_device((rows * GRID + columns).reshape(len(tokens), -1))
    picked = torch.gather(tokens[:, 1:], 1, places[..., None].expand(-1, -1, tokens.shape[-1]))
    return torch.cat([tokens[:, :1], picked], 1), torch.gather(coverage, 1, places)


def terms(
    model: Hybrid,
    layers: PatchLayers,
    helpers: Helpers,
    batch: Batch,
    tokenizer: Tokens,
    lots: np.random.Generator,
    weights: dict[str, float],
    crop: int,
) -> dict:
    """All terms of one batch whose weight is not 0, by name. Pictures are seen through a square of
    `crop` patches."""
    texts = texts_for(model, batch, tokenizer, lots)
    tokens = model.tokens(batch.pixels, torch.bfloat16)
    seen_tokens, seen = tokens, batch.coverage
    if crop < GRID:
        seen_tokens, seen = cropped(tokens, batch.coverage, crop, lots)
    outputs = model.blocks(seen_tokens)
    image = model.image(outputs[-1])
    found = image_terms(model, batch, texts, image, seen)
    if weights["dense"]:
        found |= dense_terms(model, batch, texts, layers(outputs), seen)
    if weights["helpers"]:
        final = model.vision_model.post_layernorm(outputs[-1][:, 0]).float()
        found |= helper_terms(helpers, batch, outputs, final, seen)
    if weights["windows"]:
        found |= window_term(model, batch, texts, tokens, lots)
    return found
