// Times in the reader's own zone: the server writes UTC, which stays readable without scripts.

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const format = (options) => new Intl.DateTimeFormat("en-GB", options);
const clock = format({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const short = format({ hour: "2-digit", minute: "2-digit" });
const day = format({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
const date = format({ day: "numeric", month: "short" });
const full = format({ day: "2-digit", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });

/** Return the time of day, hh:mm:ss. */
export const clockOf = (moment) => clock.format(moment);

// No zone's day begins but at a quarter of an hour.
const QUARTER_MS = 900_000;
const MOST_DAYS = 2_000;
const days = new Map();

/** Return a day's name, which also tells days apart. */
export function dayOf(moment) {
  const quarter = Math.floor(moment / QUARTER_MS);
  if (!days.has(quarter)) {
    if (days.size > MOST_DAYS) days.clear();
    days.set(quarter, day.format(moment));
  }
  return days.get(quarter);
}

/** Return the reader's time zone by its name. */
export const zoneName = () => zone;

/** Return a time of the reader's zone as a field takes it. */
export const fieldOf = (moment) => new Date(moment - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);

/** Return how long ago something was, in one or two units. */
export const spanOf = (moment) => span(moment, new Date());

function ago(moment, now) {
  const seconds = (now - moment) / 1000;
  if (seconds < 5) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (dayOf(moment) === dayOf(now)) return short.format(moment);
  if (moment.getFullYear() === now.getFullYear()) return `${date.format(moment)}, ${short.format(moment)}`;
  return `${date.format(moment)} ${moment.getFullYear()}`;
}

function span(moment, now) {
  const seconds = Math.max(0, Math.round((now - moment) / 1000));
  if (seconds < 60) return `${seconds} s`;
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = units.findIndex(([length]) => seconds >= length);
  const first = Math.floor(seconds / units[at][0]);
  const second = Math.floor((seconds % units[at][0]) / units[at + 1][0]);
  const quiet = second === 0 || (units[at + 1][1] === "s" && first >= 10);
  return `${first} ${units[at][1]}` + (quiet ? "" : ` ${second} ${units[at + 1][1]}`);
}

const forms = { clock: clockOf, full: (moment) => full.format(moment), ago, span };

function write(element, now) {
  const moment = new Date(element.dateTime);
  // What a browser can't read stays as the server wrote it.
  if (Number.isNaN(moment.getTime())) return moment;
  const words = forms[element.dataset.form](moment, now);
  if (element.textContent !== words) element.textContent = words;
  return moment;
}

/** Write the times below an element in the reader's zone. */
export function localize(root) {
  const now = new Date();
  for (const element of root.querySelectorAll("time[data-form]")) {
    const moment = write(element, now);
    if (!Number.isNaN(moment.getTime())) element.title = full.format(moment);
  }
}

/** Keep the times that depend on now up to date. */
export function tick() {
  setInterval(() => {
    if (document.hidden) return;
    const now = new Date();
    for (const element of document.querySelectorAll('time[data-form="ago"], time[data-form="span"]')) write(element, now);
  }, 1000);
}
