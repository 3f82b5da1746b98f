// The page of a long piece of work goes on by itself: it sends its form, which the button "Continue" does without this.
// The pause leaves time to press "Stop here".
setTimeout(() => document.getElementById("go-on").requestSubmit(), 500);
