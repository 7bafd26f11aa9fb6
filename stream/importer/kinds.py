"""What a file of weights is, when it is no RVC voice: told by the names of its tensors."""

from collections.abc import Iterable, Mapping
from typing import Any

VOCODERS = (  # what of the decoder's names only that vocoder has
    (("dec.mrfs.", "dec.upsamples."), "MRF HiFi-GAN"),
    (("dec.downsample_blocks.", "dec.source_conv.", "dec.upsample_conv_blocks."), "RefineGAN"),
    (("dec.activation_post.", "dec.resblocks.0.activations."), "BigVGAN"),
    (("dec.stft.", "dec.conformers.", "dec.reflection_pad."), "an iSTFT vocoder"),
)
MODELS = (
    (("enc_p.ssl_proj.", "quantizer.vq."), "a SoVITS model of GPT-SoVITS"),
    (("ar_text_embedding.", "ar_audio_embedding."), "a GPT model of GPT-SoVITS"),
    (("f0_decoder.", "enc_p.f0_emb.", "emb_uv.", "enc_p.pre."), "a so-vits-svc voice"),
    (("unit2ctrl.", "unit2mel."), "a DDSP-SVC voice"),
    (("discriminators.",), "a discriminator, which only training needs (`D_*.pth`)"),
    (
        ("feature_extractor.conv_layers.", "final_proj.", "label_embs_concat"),
        "a HuBERT content encoder, not a voice: see `timbral models pull`",
    ),
    (("unet.encoder.", "unet.intermediate."), "the pitch detector RMVPE, not a voice"),
    (("input_stack.", "dense_out."), "the pitch detector FCPE, not a voice"),
    (("conv1_BN.", "classifier.weight"), "the pitch detector CREPE, not a voice"),
    (
        ("mask_estimators.", "band_split.", "stg1_low_band_net.", "crosstransformer."),
        "a model that separates music (UVR), not a voice",
    ),
    (("enc_p.emb.", "dp.", "sdp."), "a VITS voice for reading text aloud"),
)
TRAINING = frozenset({"optimizer", "iteration", "learning_rate"})


def what(names: Iterable[str], extra: Mapping[Any, Any]) -> str:
    """A sentence's beginning: "it is ..."."""
    names = list(names)
    if any("enc_p.emb_phone." in name for name in names) and _of_training(names, extra):
        return (
            "it is a training checkpoint (`G_*.pth`), which holds more than a voice. "
            "Save the small model from it in the program that trained it"
        )
    for signs, text in MODELS:
        if any(_has(name, sign) for name in names for sign in signs):
            return f"it is {text}"
    return "it holds weights, but not those of an RVC voice" if names else "it holds no weights"


def vocoder(names: Iterable[str], extra: Mapping[Any, Any]) -> str | None:
    """The name of a decoder that is not RVC's own, if that is what the voice has."""
    names = list(names)
    for signs, text in VOCODERS:
        if any(_has(name, sign) for name in names for sign in signs):
            return text
    said = str(extra.get("vocoder", ""))
    known = said.lower().replace("-", "").replace(" ", "")
    return None if known in {"", "none", "default", "hifigan", "hifigannsf"} else said[:40]


def _of_training(names: list[str], extra: Mapping[Any, Any]) -> bool:
    return bool(TRAINING & set(extra)) or any(name.startswith("model.") for name in names)


def _has(name: str, sign: str) -> bool:
    return name.startswith(sign) or f".{sign}" in name
