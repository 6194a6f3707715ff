"""The doctor finds planted damage, and its remedies change nothing in float."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from autox3d_edge import (
    audit,
    compact,
    diagnosis,
    doctor,
    export,
    flatbuffer,
    interpreters,
    layer_noise,
    lowering,
    quantize,
    ranges,
    recipes,
    remedies,
)
from autox3d_edge import manifest as manifest_lib
from autox3d_tf import models
from tests.edge import networks, reference

CLIP = (3, 16, 16)
PLANTED = "stage1_block1"

pytestmark = pytest.mark.large  # a dozen conversions


@pytest.fixture(scope="module")
def sick():
    """A network whose block has channels of very unlike range."""
    arch = networks.small_arch(attention="none", clip_size=CLIP)
    arch = dataclasses.replace(arch, stages=(arch.stages[1],))
    weights = networks.random_weights(arch)
    gain = np.ones(20, np.float32)
    gain[0] = 300.0
    for part in ("gamma", "beta"):
        weights[f"{PLANTED}/expand_norm_{part}"] *= gain
    weights[f"{PLANTED}/depthwise1_kernel"] /= gain
    return arch, weights, reference.random_clips(12, CLIP)


@pytest.fixture(scope="module")
def converter(sick):
    arch, weights, clips = sick
    return recipes.NetworkConverter(arch, weights, clips[:6])


@pytest.fixture(scope="module")
def found(sick):
    arch, weights, clips = sick
    model = models.build_model(arch, num_classes=networks.CLASSES)
    models.assign_weights(model, weights)
    labels = [
        reference.probabilities(arch, weights, clip).argmax()
        for clip in clips[6:]
    ]
    return doctor.diagnose(
        arch,
        weights,
        clips[:6],
        doctor.Judged(clips=clips[6:], labels=labels),
        doctor.DoctorOptions(bound=0.0, kept_parts=(1,), repeats=2),
        test=doctor.Judged(clips=clips[:2], labels=[0, 0]),
        model=model,
    )


def row(found, name):
    return next(row for row in found.treatments if row.name == name)


def test_planted_damage_is_the_worst_layer(found):
    # One channel 300 times larger leaves the others under one step of 256.
    # The tensor's own ratio hardly shows it, that channel's energy dominates;
    # the depthwise convolution that scales it back does.
    inner = [
        noise
        for noise in layer_noise.worst_layers(found.noise)
        if noise.layer.startswith("stage")
    ]
    assert inner[0].layer.startswith(f"{PLANTED}_depthwise_tap")
    assert inner[0].lost > 10


def test_a_layer_is_ranked_by_the_noise_that_it_adds():
    def layer(name, before, after):
        return layer_noise.LayerNoise(
            layer=name,
            operator="",
            snr=after,
            lost=before - after,
            bias=np.zeros(1),
        )

    # 61 dB are lost where there was no noise before, 7 where there was some.
    noise = [layer("pad", 120.0, 59.0), layer("squeeze_mean", 17.0, 10.0)]
    first, last = layer_noise.worst_layers(noise)
    assert first.layer == "squeeze_mean" and last.layer == "pad"
    assert first.added == pytest.approx(0.1 - 0.01995, rel=1e-3)
    assert last.added == pytest.approx(1.26e-6, rel=1e-2)
    assert layer_noise.format_table(noise, 1).endswith("7.0  8.0e-02")


def test_what_is_lost_is_lost_of_the_worst_input():
    made_by = {
        number: types.SimpleNamespace(inputs=inputs)
        for number, inputs in ((5, (3, 4)), (4, (1, 2)), (2, (0,)))
    }
    snr = {0: 1.0, 1: 12.0, 2: 50.0, 3: 30.0}  # 4 is of no layer
    assert layer_noise._worst_input(made_by, 5, snr) == 12.0
    assert layer_noise._worst_input(made_by, 2, {}) == 120.0


def test_noise_behind_a_relu_by_hand(exported):
    """The operator has the name of its product, and the relu in it."""
    model, _ = manifest_lib.read_model(exported.path)
    clips = exported.clips[:3]
    noise = layer_noise.measure(exported.lowered, model, clips)
    (found,) = [layer for layer in noise if layer.layer == "head_hidden"]
    assert found.relu
    graph = flatbuffer.read_graph(model)
    (operator,) = [
        o
        for o in graph.operators
        if graph.tensors[o.outputs[0]].name == "head_hidden"
    ]
    tensor = graph.tensors[operator.outputs[0]]
    network = tf_keras.Model(
        exported.lowered.input,
        exported.lowered.get_layer("head_hidden_relu").output,
    )
    run = interpreters.ClipRunner(model, keep_tensors=True)
    exact, rounded = [], []
    for clip in clips:
        run(clip)
        steps = run._interpreter.get_tensor(tensor.index).astype(float)
        rounded.append((steps[0] - tensor.zero_point[0]) * tensor.scale[0])
        exact.append(network(clip.astype(np.float32)).numpy()[0])
    error = np.subtract(rounded, exact)
    np.testing.assert_allclose(found.bias, error.mean(0), atol=1e-5)
    ratio = np.square(exact).sum() / np.square(error).sum()
    assert found.snr == pytest.approx(10 * np.log10(ratio), abs=0.01)


def test_the_part_with_the_damage_gains_most_in_float(found):
    gains = {part.part: part.gain for part in found.parts}
    assert max(gains, key=gains.get) == PLANTED
    mixed = row(found, f"{found_base(found)}, fp32: {PLANTED}")
    assert mixed.precision == "mixed"


def found_base(found):
    """Name of the remedies that the mixed ones build on."""
    name = next(r.name for r in found.treatments if r.recipe and r.recipe.kept)
    return name.split(", int16x8")[0]


def test_lowering_loses_nothing(found):
    assert [part.part for part in found.parts] == ["stem", PLANTED, "head"]
    # 100 dB are a relative error of 1e-5, that of float32 sums.
    assert min(part.keras for part in found.parts) > 90
    assert max(part.int8 for part in found.parts) < 60


def test_equalizing_heals_it(found):
    plain, equalized = row(found, "int8"), row(found, "int8, equalized")
    assert equalized.mean_error < 0.6 * plain.mean_error
    fp32 = row(found, "fp32")
    assert fp32.agreement == fp32.accuracy == 1.0
    assert fp32.mean_error == fp32.loss == 0.0


def test_int8_with_the_fewest_remedies_is_chosen(found):
    # On six clips whose labels are float's: another label is one wrong.
    for r in found.treatments:
        wrong = 6 * (1 - r.accuracy)
        assert r.loss == pytest.approx((wrong + wrong**0.5) / 6, abs=1e-9)
    within = [r for r in found.treatments if r.loss == 0.0]
    assert found.chosen in within
    int8 = [r for r in within if r.recipe and not r.recipe.kept]
    if int8:
        fewest = min(r.recipe.num_remedies for r in int8)
        expected = [r for r in int8 if r.recipe.num_remedies == fewest]
        assert found.chosen is min(expected, key=lambda r: r.mean_error)
    rows = [
        dataclasses.replace(row(found, name), loss=0.0, mean_error=error)
        for name, error in (
            ("int8", 0.4),
            ("int8, clipped", 0.2),
            ("int8, equalized", 0.3),
        )
    ]
    plain, clipped, equalized = rows
    tuned = dataclasses.replace(
        plain, name=diagnosis.FINE_TUNED, mean_error=0.0, size=plain.size // 2
    )
    wider = dataclasses.replace(
        row(found, "fp16"), loss=0.0, milliseconds=0.0, size=1
    )
    rows = [row(found, "fp32"), wider, tuned, equalized, clipped, plain]
    for expected in (plain, clipped, equalized, tuned, wider):
        assert doctor.cheapest(rows, 0.0) is expected
        rows.remove(expected)


def test_a_loss_counts_clips_that_became_right_or_wrong(monkeypatch):
    floats, other = np.eye(4)[[0, 1, 2, 3, 3]], np.eye(4)[[0, 1, 3, 2, 2]]
    scores = {b"fp32": floats, b"int8": other}
    monkeypatch.setattr(
        interpreters,
        "ClipRunner",
        lambda model: lambda clip: scores[model][clip],
    )
    converter = types.SimpleNamespace(convert_whole=lambda precision: b"fp32")
    # Of the float network's labels the last is wrong, and so is the other's;
    # of the two before, one became wrong and one right.
    judged = doctor.Judged(clips=range(5), labels=[0, 1, 2, 2, 0])
    candidates = doctor.Candidates(converter, judged)
    candidates.add("int8", b"int8", recipes.Recipe())
    assert candidates.loss("fp32") == 0.0
    assert candidates.loss("int8") == pytest.approx(2**0.5 / 5)
    assert candidates.agreement("int8") == pytest.approx(2 / 5)
    assert candidates.within(0.29) and not candidates.within(0.28)


def test_remedies_that_help_alone_are_taken_together(monkeypatch):
    floats = np.eye(2)[[0, 1, 1]]
    errors = {b"float": 0.0, b"plain": 0.3, b"less": 0.2, b"more": 0.4}

    def runner(model):
        return lambda clip: np.abs(floats[clip] - errors[model])

    monkeypatch.setattr(interpreters, "ClipRunner", runner)
    timings = [types.SimpleNamespace(median=float(n)) for n in range(5)]
    monkeypatch.setattr(doctor.benchmark, "benchmark_files", lambda *_: timings)
    monkeypatch.setattr(flatbuffer, "activation_bytes", len)
    converter = types.SimpleNamespace(convert_whole=lambda precision: b"float")
    judged = doctor.Judged(clips=range(3), labels=[0, 0, 1])
    test = doctor.Judged(clips=[2, 1, 0, 0], labels=[1, 1, 1, 1])
    candidates = doctor.Candidates(converter, judged, test)
    made = [
        (recipes.Recipe(), b"plain"),
        (recipes.Recipe(equalize=True), b"less"),
        (recipes.Recipe(clip_ranges=True), b"more"),
        (recipes.Recipe(correct_biases=True), b"less"),
    ]
    for recipe, model in made:
        candidates.add(recipe.name, model, recipe)
    together = recipes.Recipe(equalize=True, correct_biases=True)
    assert candidates.helpful_remedies() == together
    assert candidates.best() == recipes.Recipe(equalize=True)
    for row, time in zip(candidates.measure(3), timings, strict=True):
        assert row.mean_error == pytest.approx(errors[row.model])
        # Labels are those of float throughout.
        assert (row.accuracy, row.agreement) == (pytest.approx(2 / 3), 1.0)
        assert row.test_accuracy == 2 / 4
        assert row.milliseconds == time.median
        assert row.size == row.activation_bytes == len(row.model)


def test_float_is_no_remedy_and_the_smallest_of_the_fast_is_cheapest(found):
    fp32 = row(found, "fp32")

    def candidate(**changes):
        fields = {"recipe": None, "loss": 0.0, **changes}
        return dataclasses.replace(row(found, "fp16"), **fields)

    poor = candidate(loss=0.5)
    assert doctor.cheapest((fp32, poor), 0.0) is None
    assert doctor.cheapest((fp32, poor), 0.6) is poor
    rows = (
        fp32,
        candidate(milliseconds=2.0, size=500),
        candidate(milliseconds=2.1, size=200),  # as fast, and small
        candidate(milliseconds=9.0, size=100),
    )
    assert doctor.cheapest(rows, 0.0) is rows[2]


def test_wider_parts_come_before_a_wider_network_unless_slower(found):
    fp32 = dataclasses.replace(row(found, "fp32"), milliseconds=3.0)
    whole = dataclasses.replace(
        row(found, "fp16"), loss=0.0, milliseconds=1.0, size=100
    )

    def mixed(name, milliseconds, size):
        return dataclasses.replace(
            whole, name=name, milliseconds=milliseconds, size=size,
            recipe=recipes.Recipe(kept={name: "fp32"}),
        )  # fmt: skip

    slow, fast = mixed("stem", 3.2, 50), mixed("head", 2.0, 200)
    slower = mixed("stage1_block1", 4.0, 10)
    rows = [fp32, whole, slow, fast, slower]
    for expected in (fast, slow, whole, slower):
        assert doctor.cheapest(rows, 0.0) is expected
        rows.remove(expected)


def test_one_table_shows_all_that_was_tried(found):
    text = found.format()
    assert f"{found.chosen.name}*" in text and "lost dB" in text
    assert "\nadded: noise over signal" in text
    for name in ("fp32", "fp16", "dynamic", "int8", "int16x8"):
        assert f"\n{name} " in text or f"\n{name}*" in text
    record = found.to_dict()
    assert record["chosen"] == found.chosen.name
    assert record["treatments"][0]["test_accuracy"] in (0.0, 0.5, 1.0)
    assert "model" not in record["treatments"][0]
    added = [layer["added"] for layer in record["culprits"]]
    assert added == sorted(added, reverse=True)


def test_too_few_clips_to_show_the_bound_are_said(found):
    assert "within a loss of 0.0 on 6 clips." in found.format()
    for bound, said in ((0.0, True), (0.33, True), (0.34, False)):
        text = dataclasses.replace(found, bound=bound).format()
        message = "None of 6 clips may be lost: a single one is a loss of 0.33"
        assert (message in text) == said


def test_nothing_within_the_bound_is_said(found):
    none = dataclasses.replace(found, chosen=None)
    assert "Nothing is within a loss of 0.0" in none.format()
    assert none.to_dict()["chosen"] is None


def test_every_candidate_passes_its_audit(found):
    for candidate in found.treatments:
        kept = candidate.recipe.kept if candidate.recipe else None
        report = audit.audit_model(
            candidate.model, candidate.precision, kept=kept
        )
        assert report.passed, (candidate.name, report.findings)


def test_equalized_weights_compute_the_same_in_float(sick):
    arch, weights, clips = sick
    equal = remedies.equalize(arch, weights, clips[:6])
    np.testing.assert_allclose(
        reference.logits(arch, equal, clips[7]),
        reference.logits(arch, weights, clips[7]),
        rtol=1e-4,
        atol=1e-4,
    )
    changed = equal[f"{PLANTED}/expand_norm_gamma"]
    assert not np.allclose(changed, weights[f"{PLANTED}/expand_norm_gamma"])


def test_channels_that_are_hardly_ever_on_are_widened_within_bounds(sick):
    arch, weights, clips = sick
    gamma, beta, kernel = (
        f"{PLANTED}/{name}"
        for name in (
            "expand_norm_gamma",
            "expand_norm_beta",
            "depthwise1_kernel",
        )
    )
    weights = {**weights, beta: weights[beta].copy()}
    weights[beta][3] -= 1e3  # never on; 300 is the largest gain otherwise
    equal = remedies.equalize(arch, weights, clips[:3])
    gains = equal[gamma] / weights[gamma]
    assert gains[3] == pytest.approx(16)
    assert gains.min() == gains[0] == 1.0  # of the widest
    np.testing.assert_allclose(equal[beta], gains * weights[beta], rtol=1e-5)
    np.testing.assert_allclose(
        gains * equal[kernel], weights[kernel], rtol=1e-5
    )
    weights[beta] = weights[beta] - 1e6  # none is ever on
    silent = remedies.equalize(arch, weights, clips[:1])
    for name, value in silent.items():
        np.testing.assert_array_equal(value, weights[name], name)


def test_channels_are_evened_out_by_their_ranges_on_all_clips(sick):
    arch, _, clips = sick
    weights, one, other = networks.random_weights(arch), clips[:1], clips[1:2]
    gamma = f"{PLANTED}/expand_norm_gamma"
    first, second, both, turned = (
        remedies.equalize(arch, weights, some)[gamma] / weights[gamma]
        for some in (one, other, [*one, *other], [*other, *one])
    )
    np.testing.assert_array_equal(both, turned)
    assert (both != first).any() and (both != second).any()


def test_an_export_is_treated_if_that_brings_it_close_to_float(sick, converter):
    arch, weights, clips = sick
    treated = recipes.Recipe(equalize=True, clip_ranges=True)
    plain, close = (
        interpreters.ClipRunner(converter.convert(recipe))
        for recipe in (recipes.Recipe(), treated)
    )
    pairs = [(c, reference.probabilities(arch, weights, c)) for c in clips]
    errors = [
        np.mean([np.square(run(clip) - exact) for clip, exact in pairs])
        for run in (plain, close)
    ]
    assert errors[1] < 0.5 * errors[0]  # on clips it has not seen, too
    assert converter.choose_recipe() == treated
    kept = {"stem": "fp32"}
    assert converter.choose_recipe(kept) == dataclasses.replace(
        treated, kept=kept
    )


def test_what_fails_its_audit_is_not_run_to_choose(sick, monkeypatch):
    """It might end the process."""
    monkeypatch.setattr(
        recipes.audit,
        "audit_model",
        lambda *_: types.SimpleNamespace(passed=False),
    )
    monkeypatch.setattr(interpreters, "ClipRunner", None)
    converter = recipes.NetworkConverter(*sick[:2], sick[2][:1])
    monkeypatch.setattr(converter, "convert", lambda recipe: b"")
    assert converter.choose_recipe() == recipes.Recipe()


def test_files_of_one_converter_are_calibrated_once(
    sick, converter, tmp_path, monkeypatch
):
    arch, weights, clips = sick
    converter.choose_recipe()
    monkeypatch.delattr(quantize, "calibrate")
    for precision, kept in (("int8", None), ("mixed", {"stem": "fp32"})):
        report = export.export_model(
            weights, arch, tmp_path / f"{precision}.tflite",
            precision=precision, calibration=clips[:6], kept=kept,
            parity_clips=clips[:1], converter=converter,
        )  # fmt: skip
        assert report["recipe"].startswith("int8, equalized, clipped")


def test_a_healthy_network_is_left_as_it_is(sick):
    arch, _, clips = sick
    healthy = recipes.NetworkConverter(
        arch, networks.random_weights(arch), clips[:6]
    )
    assert healthy.choose_recipe() == recipes.Recipe()


@pytest.mark.parametrize("equalize", [False, True])
def test_corrected_biases_take_the_mean_error_away(sick, converter, equalize):
    _, _, clips = sick
    lowered = converter.lowered(equalize)
    pairs = {
        f"{PLANTED}_project": f"{PLANTED}_activation",
        "head_logits": "head_hidden",  # whose relu is part of it
    }

    def own_errors(recipe):
        model = converter.convert(recipe)
        noise = layer_noise.measure(lowered, model, clips[:6])
        bias = {layer.layer: layer.bias for layer in noise}
        errors = []
        for name, source in pairs.items():
            kernel = lowered.get_layer(name).get_weights()[0]
            passed_on = bias[source] @ kernel.reshape(kernel.shape[-2:])
            errors.append(np.abs(bias[name] - passed_on).mean())
        return np.array(errors)

    before = recipes.Recipe(equalize=equalize)
    after = dataclasses.replace(before, correct_biases=True)
    assert (own_errors(after) < 0.7 * own_errors(before)).all()


def test_only_biases_that_no_relu_hides_are_corrected(sick, converter):
    lowered, model = converter.lowered(), converter.convert(recipes.Recipe())
    corrected = remedies.correct_biases(lowered, model, sick[2][:2])
    changed = {
        layer.name
        for layer in lowered.layers
        for before, after in zip(
            layer.get_weights(),
            corrected.get_layer(layer.name).get_weights(),
            strict=True,
        )
        if (before != after).any()
    }
    assert changed == {f"{PLANTED}_project", "head_logits"}


def test_biases_are_corrected_by_the_mean_over_all_clips(sick, converter):
    lowered, model = converter.lowered(), converter.convert(recipes.Recipe())
    for name in (f"{PLANTED}_project", "head_logits"):
        one, other, both = (
            remedies.correct_biases(lowered, model, clips)
            .get_layer(name)
            .get_weights()[1]
            for clips in (sick[2][:1], sick[2][1:2], sick[2][:2])
        )
        assert (one != other).any()
        np.testing.assert_allclose(both, (one + other) / 2, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"causal": True}])
def test_calibrated_ranges_are_those_of_the_float_graph(changes):
    """By an interpreter that keeps all tensors, without operations in place."""
    arch = networks.small_arch(clip_size=CLIP, **changes)
    clips = reference.random_clips(3, CLIP)
    network = lowering.lower(arch, networks.random_weights(arch))
    clips = quantize.check_calibration(clips, (*CLIP, 3))
    calibrated = quantize.calibrate(network, clips)
    interpreter = tf.lite.Interpreter(
        model_content=calibrated,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=(
            tf.lite.experimental.OpResolverType.BUILTIN_REF
        ),
    )
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    content = flatbuffer.unpack(calibrated)
    graph = content.subgraphs[0]
    made = [  # others have the range of what they are made of
        int(operator.outputs[0])
        for operator, kind in zip(
            graph.operators, flatbuffer.kinds(content), strict=True
        )
        if kind not in flatbuffer.SAME_SCALE
    ]
    ends = []
    for clip in clips:
        interpreter.set_tensor(given["index"], clip.astype(np.float32))
        interpreter.invoke()
        values = [interpreter.get_tensor(number) for number in made]
        ends.append([(value.min(), value.max()) for value in values])
    lows, highs = np.min(ends, 0)[:, 0], np.max(ends, 0)[:, 1]
    for number, low, high in zip(made, lows, highs, strict=True):
        tensor = graph.tensors[number]
        kept = tensor.quantization
        np.testing.assert_allclose(
            (kept.min[0], kept.max[0]), (low, high), rtol=1e-3, atol=1e-4,
            err_msg=tensor.name.decode(),
        )  # fmt: skip


def test_what_is_only_moved_has_the_range_of_what_it_is_made_of():
    """Whatever range was found for it: its steps are the same."""
    arch = networks.small_arch(clip_size=CLIP, causal=True)
    network = lowering.lower(arch, networks.random_weights(arch))
    calibrated = quantize.calibrate(network, reference.random_clips(2, CLIP))
    given = {
        layer.name: (0.0, 100.0 + number)
        for number, layer in enumerate(network.layers)
    }
    content = flatbuffer.unpack(ranges.set_ranges(calibrated, given))
    graph = content.subgraphs[0]
    highs, last = [], {}
    for tensor in graph.tensors:
        found = getattr(tensor.quantization, "max", None)
        highs.append(None if found is None else float(found[0]))
    kinds = flatbuffer.kinds(content)
    for operator, kind in zip(graph.operators, kinds, strict=True):
        (made,) = operator.outputs
        last[compact.layer_of(graph.tensors[made].name)] = kind, highs[made]
        if kind in flatbuffer.SAME_SCALE:
            assert highs[made] == highs[operator.inputs[0]] is not None
    assert {"PAD", "STRIDED_SLICE", "RESHAPE", "TRANSPOSE"} <= set(kinds)
    # The mean over time is moved at its end; it keeps the range given to it.
    mean = "stage1_block1_se_mean"
    assert last[mean] == ("TRANSPOSE", given[mean][1])


def test_clipped_ranges_are_in_the_file(sick, converter):
    found = ranges.Watch(
        converter.lowered(), lambda: (c.astype(np.float32) for c in sick[2][:6])
    ).clipped
    low, high = found["stem_temporal_relu"]
    assert low == 0.0 and high > 0.0
    graph = audit.flatbuffer.read_graph(
        converter.convert(recipes.Recipe(clip_ranges=True))
    )
    (scale,) = {
        tensor.scale[0]
        for tensor in graph.tensors
        if tensor.name.startswith("stem_temporal_relu")
        and tensor.dtype == "INT8"
    }
    assert scale == pytest.approx(high / 255)


def test_ranges_are_clipped_of_the_network_that_is_converted(sick, monkeypatch):
    watch, asked = ranges.Watch, []

    class Spy(watch):
        def __init__(self, network, samples):
            super().__init__(network, samples)
            self.network = network

        @property
        def clipped(self):
            asked.append(self.network)
            return super().clipped

    monkeypatch.setattr(ranges, "Watch", Spy)
    arch, weights, clips = sick
    converter = recipes.NetworkConverter(arch, weights, clips[:2])
    for equalize in (False, True):
        recipe = recipes.Recipe(clip_ranges=True, equalize=equalize)
        assert converter.convert(recipe)
        assert asked.pop() is converter.lowered(equalize)


def test_a_rare_large_value_is_cut_off():
    counts = np.zeros(1000)
    counts[:500] = 1e6  # uniform over the lower half
    counts[-1] = 1.0  # one value of five hundred million
    low, high = ranges.best_range(counts, 0.0, 1.0)
    assert low == 0.0 and 0.45 < high < 0.6
    # As many values everywhere: cutting loses more than it gains.
    assert ranges.best_range(np.ones(1000), -1.0, 1.0) == (-1.0, 1.0)


def rounding_error(values, low, high):
    """Mean squared error of 256 steps over a range, by doing it."""
    step = (high - low) / 255
    zero = np.rint(low / step)
    steps = np.rint(values / step).clip(zero, zero + 255)
    return np.square(steps * step - values).mean()


def test_a_range_is_as_wide_as_is_best_if_one_rounds():
    values = np.random.default_rng(0).laplace(size=300_000)
    low, high = values.min(), values.max()
    counts, _ = np.histogram(values, 2048, (low, high))
    found = ranges.best_range(counts, low, high)
    least = min(
        rounding_error(values, low * share, high * share)
        for share in np.linspace(0.3, 1.0, 71)
    )
    assert rounding_error(values, low, high) > 1.2 * least
    assert rounding_error(values, *found) < 1.01 * least


def watch_relu(samples, name="relu"):
    clip = tf_keras.Input(batch_shape=samples[0].shape, name="clip")
    network = tf_keras.Model(clip, tf_keras.layers.ReLU(name=name)(clip))
    return ranges.Watch(network, lambda: iter(np.float32(samples)))


def test_clipping_a_layer_never_makes_it_worse():
    # Most of what a relu lets through is 0, which every range holds exactly.
    rng = np.random.default_rng(0)
    samples = [  # the larger first
        size * (rng.standard_t(6, (1, 64, 256, 4)) - 1) for size in (1.0, 0.3)
    ]
    values = np.maximum(samples, 0)
    assert (values == 0).mean() > 0.8
    low, high = watch_relu(samples).clipped["relu"]
    assert low == 0
    least = min(
        rounding_error(values, 0, values.max() * share)
        for share in np.linspace(0.3, 1.0, 29)
    )
    assert rounding_error(values, 0, high) < 1.02 * least


def test_pixels_are_never_cut_off():
    """Their steps are of one, however rare the brightest are."""
    values = np.random.default_rng(0).exponential(size=(1, 256, 300, 4))
    _, high = watch_relu([values]).clipped["relu"]
    assert high < 0.9 * values.max()
    _, high = watch_relu([values], "stem_centre").clipped["stem_centre"]
    assert high == pytest.approx(values.max())


def test_all_places_of_a_large_layer_are_looked_at():
    rows = np.linspace(0.01, 1, 256)[:, None, None]  # brighter further down
    clip = rows * np.random.default_rng(0).random((1, 256, 512, 2))
    low, high = watch_relu([clip]).clipped["relu"]
    assert low == 0 and high > 0.95 * clip.max()


def test_recipes_are_named_by_what_they_do():
    recipe = recipes.Recipe(
        equalize=True, kept={"stem": "fp32", "head": "int16x8"}
    )
    assert recipe.name == "int8, equalized, int16x8: head, fp32: stem"
    assert recipe.precision == "mixed"
    assert recipes.Recipe().name == recipes.Recipe().precision == "int8"


def test_options_are_checked():
    with pytest.raises(ValueError, match=r"`bound` must be in \[0, 1\)"):
        doctor.DoctorOptions(bound=-0.1)
    with pytest.raises(ValueError, match="kept_parts=\\(0,\\)"):
        doctor.DoctorOptions(kept_parts=(0,))
    with pytest.raises(ValueError, match="1 clips, 0 labels"):
        doctor.Judged(clips=[np.zeros((1,))], labels=[])


def test_weights_that_are_not_finite_are_named(sick):
    arch, weights, _ = sick
    broken = {**weights, "head/logits_bias": np.full(7, np.nan, np.float32)}
    with pytest.raises(ValueError, match="'head/logits_bias' with 7 NaN"):
        lowering.lower(arch, broken)
