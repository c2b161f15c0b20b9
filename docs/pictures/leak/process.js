// A Node.js process that works, once with a leak and once without: `node process.js leak|sound SECONDS > memory.csv`.
// One second stands for one minute, so that a day of a process is recorded in 24 minutes; memory is what the kernel says.
'use strict';
const [, , kind, seconds] = process.argv;
const SECOND_IS_MS = 60_000, START_MS = 1_795_000_000_000;
const cache = new Map(), listeners = [];
let tick = 0;

// Work: requests that make garbage, a cache that fills to its bound within two "hours", and perhaps a listener nobody removes.
setInterval(() => {
  tick += 1;
  let garbage = [];
  for (let n = 0; n < 400; n += 1) garbage.push({ id: n, name: 'order ' + tick + ':' + n, lines: [n, n + 1, n + 2] });
  if (cache.size < 6000) cache.set(tick, JSON.stringify(garbage.slice(0, 30)));
  if (kind === 'leak') for (let n = 0; n < 24; n += 1) { const seen = { tick, n, note: 'x'.repeat(40) + n }; listeners.push(() => seen); }
  garbage = null;
}, 20);

console.log('at_ms,memory_bytes,started_ms');
let sample = 0;
setInterval(() => {
  console.log([START_MS + sample * SECOND_IS_MS, process.memoryUsage.rss(), START_MS].join(','));
  sample += 1;
  if (sample >= Number(seconds)) process.exit(0);
}, 1000);
