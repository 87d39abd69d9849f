// What a network finds in images: what is taken for what.
"use strict";
(() => {
  const R = Report, it = R.data.found;
  if (!it || !it.confusion) return;
  const { classes, counts } = it.confusion, shown = (_, share) => (share < 0.005 ? "" : R.percent(share, 1).replace(".0", ""));
  R.add("found-confusion", (_, width) => R.taken({ classes, counts, unit: { name: "Pixels", shown }, width }),
    { height: R.tall(classes.length), renderer: classes.length > 30 ? "canvas" : "svg" });
})();
