import { stripVTControlCharacters } from 'node:util';

/** Characters of a message that are enough to recognise it; the whole one is further up. */
const bound = { first: 480, later: 120 };

/**
 * Says at the end of a run once more, in a few lines, what failed: where only the end of a long output is kept, its cause is not lost. Tests of
 * a suite that follow one that failed often fail by it, so that the first one of each suite has the most room.
 */
export default class FailuresInBrief {
  onRunComplete(_contexts, { testResults }) {
    const lines = testResults.flatMap(briefOf);
    if (lines.length > 0) process.stderr.write(`\nWhat failed, in brief:\n${lines.join('\n')}\n`);
  }
}

function briefOf({ testFilePath, testExecError, failureMessage, testResults }) {
  const suite = testFilePath.replace(/^.*\//, '');
  const failed = testResults.filter(({ status }) => status === 'failed');
  if (failed.length === 0)
    return testExecError || failureMessage ? [`${suite}: ${cut(failureMessage ?? testExecError.message, bound.first)}`] : [];
  return failed.map(
    ({ title, failureMessages }, index) =>
      `${suite} › ${title.slice(0, 100)}: ${cut(failureMessages.join(' '), index === 0 ? bound.first : bound.later)}`,
  );
}

/** On one line, without colours and without the stack. */
function cut(message, characters) {
  return stripVTControlCharacters(message)
    .replace(/\n\s+at [\s\S]*$/, '')
    .replace(/\s+/g, ' ')
    .slice(0, characters);
}
