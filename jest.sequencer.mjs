import TestSequencer from '@jest/test-sequencer';

/** The system suites that take minutes, longest first. Where one of them is begun last, it goes on alone while the other workers have nothing to do. */
const long = [
  'crash-moves',
  'crash-operator',
  'lost-runners',
  'crash-agent',
  'random-walk',
  'control-plane-faults',
  'deposed-leader',
  'stuck',
  'chaos',
].map((name) => `/${name}.system.test.ts`);

/** Runs the long suites first, in the sequence above, and the others as Jest would. */
export default class LongestFirst extends TestSequencer {
  sort(tests) {
    const rank = ({ path }) => {
      const index = long.findIndex((name) => path.endsWith(name));
      return index < 0 ? long.length : index;
    };
    return [...super.sort(tests)].sort((one, other) => rank(one) - rank(other));
  }
}
