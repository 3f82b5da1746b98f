// Continues long work by submitting the form, like the button "Continue" without JavaScript, after a pause in which
// "Stop here" can be pressed.
setTimeout(() => document.getElementById("go-on").requestSubmit(), 500);
