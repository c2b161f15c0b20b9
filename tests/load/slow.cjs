// Connections that are kept open by a byte now and then. The gateway is to cut them off by itself; how long each held out is measured.
const net = require('node:net');
const { URL } = require('node:url');

const EVERY_MS = 500;

function trickle(head, name) {
  return function slow(context, events, done) {
    const target = new URL(context.vars.target);
    const socket = net.connect(Number(target.port), target.hostname);
    const began = process.hrtime.bigint();
    let ended = false;
    const end = (how) => {
      if (ended) return;
      ended = true;
      clearInterval(timer);
      clearTimeout(limit);
      socket.destroy();
      events.emit('counter', `slow.${name}.${how}`, 1);
      events.emit('histogram', `slow.${name}.held_ms`, Number(process.hrtime.bigint() - began) / 1e6);
      done();
    };
    const timer = setInterval(() => socket.writable && socket.write('x'), EVERY_MS);
    // Whoever is still connected after two minutes was never cut off.
    const limit = setTimeout(() => end('never_cut_off'), 120_000);
    socket.on('connect', () => socket.write(head(target.host)));
    socket.on('data', (answer) => events.emit('counter', `slow.${name}.status.${answer.toString('latin1').split(' ')[1]}`, 1));
    socket.on('close', () => end('cut_off'));
    socket.on('error', () => end('cut_off'));
  };
}

module.exports.trickleBody = trickle(
  (host) => `POST /v1/events HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n[`,
  'body',
);
module.exports.trickleHeaders = trickle((host) => `GET /readyz HTTP/1.1\r\nHost: ${host}\r\nX-Slow: `, 'headers');
