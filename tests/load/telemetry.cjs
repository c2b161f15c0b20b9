// Telemetry as an application without NATS sends it: a request and its queries.
let count = 0;

module.exports.events = function events(request, _context, _events, done) {
  count += 1;
  const trace = count.toString(16).padStart(32, '0');
  const shared = { service: `load-${count % 10}`, at_ms: Date.now(), trace };
  const queries = Array.from({ length: 8 }, (_, place) => ({
    kind: 'query',
    ...shared,
    statement: `select id, name, price from products_${(count + place) % 50} where shop = ? limit ?`,
    took_us: 400 + place,
    system: 'postgresql',
    span: (place + 2).toString(16).padStart(16, '0'),
  }));
  request.json = [...queries, { kind: 'request', ...shared, route: 'GET /products', status: 200, took_us: 9000, span: '0000000000000001' }];
  done();
};
