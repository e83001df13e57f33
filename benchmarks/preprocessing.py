"""Model grid of the benchmark volume, in memory, beside the public processor's: at least 15 times faster."""

from __future__ import annotations

from benchmarks._common import OFFICIAL, alternate, parser, public_image, public_processor, publish, quiet
from benchmarks.make_volume import benchmark_volume


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args(arguments)
    quiet()
    from napari_colipri.ct.open import open_volume
    from napari_colipri.engine.preprocess import to_model_grid

    volume = open_volume(benchmark_volume())
    image = public_image(volume, as_float=False)
    processor = public_processor()
    seconds = alternate(
        chosen.rounds,
        ours=lambda: to_model_grid(volume, OFFICIAL),
        public=lambda: processor.process_images(image),
    )
    publish(
        "Preprocessing, 512×512×300 to 192³ at 2 mm, volume in memory",
        [
            {
                "ours (s)": f"{seconds['ours']:.3f}",
                "public processor (s)": f"{seconds['public']:.2f}",
                "ratio": f"{seconds['public'] / seconds['ours']:.0f}×",
                "target": "≥ 15×",
            }
        ],
        write=chosen.write,
    )


if __name__ == "__main__":
    main()
