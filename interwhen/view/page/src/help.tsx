// What the signs, the looks of the text and the keys mean.

import { SIGNS } from "./model";

const OUTCOMES: [string, string, string][] = [
  ["pass", "pass", "the check found the claim right"],
  ["violation", "violation", "the check found it wrong"],
  ["unknown", "unknown", "the check cannot decide it"],
  ["error", "unknown", "the check failed, or ran out of time"],
  ["open", "open", "the check has not ended"],
  ["skipped", "quiet", "cancelled or skipped, for example because its text was cut"],
];

const LOOKS: [string, string, string][] = [
  ["gone", "2818", "written by the model and taken back"],
  ["ours", "2788", "written by a remedy, not by the model"],
  ["ahead", "1 + 2", "beyond the frontier: a check that is due has not passed"],
  ["held", "1 + 2", "held back from the reader, by a monitor that gates"],
  ["thought", "1 + 2", "reasoning, before the answer"],
];

const STATES: [string, string][] = [
  ["answer verified", "a check that knows the task judged the answer, and every required check passed"],
  ["steps verified", "every required check of the steps passed; the answer itself may be wrong"],
  ["unverified", "something was not checked, or did not pass; Account has the reasons"],
  ["abstained", "the run gave up, because its budget was used up or a remedy says so"],
  ["failed", "the model or the connection failed"],
];

const KEYS: [string, string][] = [
  ["n p", "next, previous violation"],
  ["j k", "next, previous check of the list"],
  ["← →", "move the cursor; with Shift by one token"],
  ["Home End", "to the start, to the end"],
  ["space", "play"],
  ["f", "show all text that was taken back"],
  ["r", "show what the reader had been sent"],
  ["/", "search the checks"],
  ["?", "this help"],
  ["Esc", "back to the list"],
];

export function Help() {
  return (
    <div class="explained">
      <h2>Signs</h2>
      <dl>
        {OUTCOMES.map(([outcome, look, text]) => (
          <div key={outcome}>
            <dt class={look}>{SIGNS[outcome]}</dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      <h2>Text</h2>
      <dl class="looks">
        {LOOKS.map(([look, sample, text]) => (
          <div key={look}>
            <dt>{look === "gone" ? <s class={look}>{sample}</s> : <span class={look}>{sample}</span>}</dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      <h2>Results</h2>
      <dl class="words">
        {STATES.map(([state, text]) => (
          <div key={state}>
            <dt>{state}</dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      <h2>Keys</h2>
      <dl class="words">
        {KEYS.map(([keys, text]) => (
          <div key={keys}>
            <dt>
              {keys.split(" ").map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}
