import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from '@jest/globals';
import { eventually } from '../eventually.ts';
import { RunWitness } from './witness.ts';

describe('the witness of runs', () => {
  const children: ChildProcess[] = [];
  afterEach(async () => {
    for (const child of children) {
      const ended = once(child, 'exit');
      if (child.kill('SIGKILL')) await ended;
    }
    children.length = 0;
  });
  const mark = `witness-${process.pid}`;
  /** A program with children that are copies of it for a moment. */
  const run = (number: number) => {
    const child = spawn('sh', ['-c', 'while :; do sleep 0.05; done', `${mark}-${number}`], { stdio: 'ignore' });
    children.push(child);
    return child.pid ?? 0;
  };

  it('sees each program once, whatever it starts, and tells which ran twice', async () => {
    const witness = new RunWitness(new RegExp(`^${mark}-\\d+$`));
    const [one, two, again] = [run(1), run(2), run(2)];
    const runs = (number: number) => [...(witness.seen.get(`${mark}-${number}`) ?? [])];
    try {
      await eventually('all are seen', () => Promise.resolve(runs(1).length === 1 && runs(2).length === 2 ? true : undefined));
      // What it starts comes and goes.
      await new Promise((resolve) => setTimeout(resolve, 500));
    } finally {
      await witness.stop();
    }
    expect(runs(1).map((found) => found.split(' ')[1])).toEqual([String(one)]);
    expect(new Set(runs(2).map((found) => found.split(' ')[1]))).toEqual(new Set([String(two), String(again)]));
    expect(witness.twice).toEqual([expect.stringMatching(new RegExp(`^${mark}-2 ran as process \\d+ .* and process \\d+ `))]);
  });
});
