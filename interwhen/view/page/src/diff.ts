// Aligns the lines of two texts: which lines they share, in order (Myers' algorithm, An O(ND) difference algorithm, 1986).

export type Pair = [number, number];

const MOST = 4000;

/** The pairs of equal lines, in order. Where the texts differ in more than a few thousand lines, only their beginning
 * and end are compared. */
export function shared(a: string[], b: string[]): Pair[] {
  const pairs: Pair[] = [];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) {
    pairs.push([head, head]);
    head++;
  }
  const tail: Pair[] = [];
  let x = a.length;
  let y = b.length;
  while (x > head && y > head && a[x - 1] === b[y - 1]) tail.push([--x, --y]);
  for (const [i, j] of middle(a.slice(head, x), b.slice(head, y))) pairs.push([i + head, j + head]);
  return [...pairs, ...tail.reverse()];
}

function middle(a: string[], b: string[]): Pair[] {
  const most = Math.min(a.length + b.length, MOST);
  if (!a.length || !b.length) return [];
  const steps: Map<number, number>[] = [];
  let reach = new Map<number, number>([[1, 0]]);
  for (let d = 0; d <= most; d++) {
    const next = new Map(reach);
    for (let k = -d; k <= d; k += 2) {
      let x = k === -d || (k !== d && (reach.get(k - 1) ?? -1) < (reach.get(k + 1) ?? -1)) ? (reach.get(k + 1) ?? 0) : (reach.get(k - 1) ?? 0) + 1;
      let y = x - k;
      while (x < a.length && y < b.length && a[x] === b[y]) {
        x++;
        y++;
      }
      next.set(k, x);
      if (x >= a.length && y >= b.length) {
        steps.push(reach);
        return back(a, b, steps, d);
      }
    }
    steps.push(reach);
    reach = next;
    if (d > 200 && d * (a.length + b.length) > 2e7) break;
  }
  return [];
}

function back(a: string[], b: string[], steps: Map<number, number>[], last: number): Pair[] {
  const pairs: Pair[] = [];
  let x = a.length;
  let y = b.length;
  for (let d = last; d >= 0; d--) {
    const reach = steps[d];
    const k = x - y;
    const down = k === -d || (k !== d && (reach.get(k - 1) ?? -1) < (reach.get(k + 1) ?? -1));
    const from = down ? k + 1 : k - 1;
    const startX = d === 0 ? 0 : (reach.get(from) ?? 0);
    const startY = d === 0 ? 0 : startX - from;
    while (x > startX && y > startY && (d === 0 || x > 0) && a[x - 1] === b[y - 1]) pairs.push([--x, --y]);
    if (d === 0) break;
    x = startX;
    y = startY;
  }
  return pairs.reverse();
}
