// A run that isn't there yet: its page opens when it speaks.

import { Badge } from "./badge.js";
import { Live } from "./live.js";

const element = document.querySelector(".badge");

class Waiting extends Badge {
  live() {
    this.show("live", "Waiting: this page opens the run when it speaks.");
  }
}

new Live(element.dataset.stream, "0", new Waiting(element), () => location.reload(), { alone: true });
