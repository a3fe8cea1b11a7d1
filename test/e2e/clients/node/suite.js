// What the suites of Node's clients share: a list of tests, run one by one.
//
// A suite is called with HOST and PORT of a server that is its own for the time,
// and flushes it. It prints a line for each test and "N passed, N failed" at last.
'use strict';
const assert = require('assert');

const host = process.argv[2];
const port = Number(process.argv[3]);
const tests = [];
// Keys of a run of their own: what an earlier one left is not found.
const run = process.pid.toString(36) + Date.now().toString(36);

exports.address = host + ':' + port;
exports.key = (name) => run + ':' + name;
exports.test = (name, body) => tests.push({ name, body });
exports.sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Waits until ask() resolves to something true.
exports.eventually = async (seconds, ask) => {
  const end = Date.now() + seconds * 1000;
  while (!(await ask())) {
    assert(Date.now() < end, 'not within ' + seconds + ' seconds');
    await exports.sleep(100);
  }
};

// A client that hangs must not hang the suite.
function within(seconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer within ' + seconds + ' seconds')), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Runs the tests and ends the process.
exports.run = async () => {
  let failed = 0;
  for (const { name, body } of tests) {
    try {
      await within(60, body());
      console.log('ok      ' + name);
    } catch (e) {
      failed++;
      console.log('FAILED  ' + name + '\n' + e.stack);
    }
  }
  console.log(tests.length - failed + ' passed, ' + failed + ' failed');
  process.exit(failed || !tests.length ? 1 : 0);
};
