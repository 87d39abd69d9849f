// Images and texts: what lies near what, what is taken for what, and how recall, temperature and gradient went.
"use strict";
(() => {
  const R = Report, it = R.data.pairs;
  if (!it) return;
  const { similarity, confusion, recall, steps, memory } = it;

  const { square, letters, tall } = R;

  if (similarity) {
    const { texts, values } = similarity, known = values.flat().filter(R.isNumber);
    R.add("pairs-similarity", (_, width) => square({
      names: texts, rows: values, low: Math.min(...known), high: Math.max(...known), width, letters: letters(width),
      across: (at) => String(at + 1), side: (name, at) => `${name}  ${at + 1}`,
      tip: (x, y, value) => R.tip(x === y ? "An image and its own text" : "An image and another text",
        [["Similarity", value.toFixed(3)]], [`Image ${y + 1}: ${texts[y]}`, ...(x === y ? [] : [`Text ${x + 1}: ${texts[x]}`])]),
    }), { height: tall(texts.length), renderer: texts.length > 30 ? "canvas" : "svg" });
  }

  if (confusion) {
    const { classes, counts } = confusion;
    R.add("pairs-confusion", (_, width) => R.taken({ classes, counts, unit: { name: "Images" }, width }), { height: tall(classes.length), renderer: classes.length > 30 ? "canvas" : "svg" });
  }

  if (recall) R.add("pairs-recall", (view, width) => {
    const { curves } = recall.views.find(({ key }) => key === view) || recall.views[0];
    return R.curves({ x: recall.epochs, name: "epoch", lines: curves, width, log: false, words: (value) => R.percent(value, 1).replace(".0", "") });
  }, { height: 300 });

  if (steps) {
    R.add("pairs-scale", (_, width) => (steps.scale.some(R.isNumber)
      ? R.curves({ x: steps.steps, name: "step", number: "value", width, marks: (value) => R.si(value, "", 5),
        lines: [{ name: "Inverse temperature", values: steps.scale }] }) : null), { height: 260 });
    R.add("pairs-gradient", (_, width) => (steps.gradient_norm.some(R.isNumber) ? R.curves({
      x: steps.steps, name: "step", number: "value", width, lines: [{ name: "Gradient norm", values: steps.gradient_norm }],
      said: (at) => ({ more: steps.highest[at] === steps.gradient_norm[at] ? [] : [["Highest", R.si(steps.highest[at])]] }),
    }) : null), { height: 260 });
  }

  if (memory) R.add("pairs-memory", (_, width) => {
    const lines = [["Measured", memory.peak_bytes], ["Predicted", memory.predicted_bytes]]
      .map(([name, values]) => ({ name, values })).filter(({ values }) => values.some(R.isNumber));
    const far = memory.batch.length > 1 && memory.batch.at(-1) / memory.batch[0] > 10;
    return R.curves({ x: memory.batch, name: "images in a batch", number: far ? "log" : "value", lines, width, words: (value) => R.si(value, "B"),
      said: (at) => ({ title: `${R.whole(memory.batch[at])} images in a batch` }) });
  }, { height: 300 });
})();
