// Folds the filters of a list where they stand above the rows; admin.css has the same width.
"use strict";
const filters = document.querySelector(".list-filters");
const narrow = matchMedia("(max-width: 1024px)");
const fold = () => { filters.open = !narrow.matches; };
fold();
narrow.addEventListener("change", fold);
