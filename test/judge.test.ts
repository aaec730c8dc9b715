import { describe, expect, it } from '@jest/globals';
import { answerFailureOf, compileFailureOf, failureOf, fileFailureOf, type TaskResult } from '../examples/judge/verdict.ts';

const result = (of: Partial<TaskResult>): TaskResult => ({ outcome: 'Exited', exitCode: 0, files: [], ...of });

describe('the verdict of the example judge', () => {
  it.each([
    { when: 'the program ended with 0', given: result({}), want: undefined },
    {
      when: 'it ended with another code',
      given: result({ exitCode: 3 }),
      want: { verdict: 'RuntimeError', message: 'it ended with code 3' },
    },
    {
      when: 'a signal ended it',
      given: result({ exitCode: 139, signal: 11 }),
      want: { verdict: 'RuntimeError', message: 'signal 11 ended it' },
    },
    {
      when: 'it was killed for a limit',
      given: result({ outcome: 'LimitExceeded', exitCode: 137, signal: 9, limit: 'WallTime' }),
      want: { verdict: 'TimeLimitExceeded', limit: 'WallTime', message: 'it took longer than it may' },
    },
    {
      when: 'it gave up for want of a process',
      given: result({ exitCode: 2, limit: 'Pids' }),
      want: { verdict: 'ProcessLimitExceeded', limit: 'Pids', message: 'it was refused another process' },
    },
    {
      when: 'it never ran',
      given: result({ outcome: 'StartFailed', reason: 'ImageFailed', message: 'no such image' }),
      want: { verdict: 'SystemError', message: 'StartFailed ImageFailed: no such image' },
    },
    {
      when: 'nobody saw its end',
      given: result({ outcome: 'Lost', reason: 'ProcessLost', message: 'gone' }),
      want: { verdict: 'SystemError', message: 'Lost ProcessLost: gone' },
    },
  ])('of $when is $want.verdict', ({ given, want }) => {
    expect(failureOf(given)).toEqual(want);
  });

  it.each([
    { when: 'it failed', given: result({ exitCode: 1 }), said: 'line 1: no', want: { verdict: 'CompileError', message: 'line 1: no' } },
    {
      when: 'it was killed for a limit and said nothing',
      given: result({ outcome: 'LimitExceeded', limit: 'Memory' }),
      said: '',
      want: { verdict: 'CompileError', limit: 'Memory', message: 'it used more memory than it may' },
    },
    {
      when: 'it never ran',
      given: result({ outcome: 'StartFailed', reason: 'ImageFailed', message: 'no such image' }),
      said: '',
      want: { verdict: 'SystemError', message: 'StartFailed ImageFailed: no such image' },
    },
  ])('of a compiler of which $when is $want.verdict', ({ given, said, want }) => {
    expect(compileFailureOf(given, said)).toEqual(want);
  });

  it.each([
    { when: 'the file is there', files: [{ path: '/o', size: 3 }], want: undefined },
    {
      when: 'there is none',
      files: [{ path: '/o', size: 0, problem: 'Missing' }],
      want: { verdict: 'WrongAnswer', message: 'there is no file /o' },
    },
    {
      when: 'it is too large',
      files: [{ path: '/o', size: 9_000, problem: 'TooLarge' }],
      want: { verdict: 'OutputLimitExceeded', limit: 'OutputFile', message: '/o has 9000 bytes' },
    },
  ])('of a file, when $when, is $want.verdict', ({ files, want }) => {
    expect(fileFailureOf(result({ files }), '/o')).toEqual(want);
  });

  it.each([
    { answer: '1 2\n3', expected: '1  2 3\n', want: undefined },
    { answer: '1 4', expected: '1 2', want: 'word 2 is "4", not "2"' },
    { answer: '1', expected: '1 2', want: 'word 2 is missing, not "2"' },
    { answer: '1 2 3', expected: '1 2', want: 'after 2 words there is more' },
    { answer: '', expected: '', want: undefined },
  ])('of the answer "$answer" where "$expected" is expected: $want', ({ answer, expected, want }) => {
    expect(answerFailureOf(answer, expected)).toEqual(want === undefined ? undefined : { verdict: 'WrongAnswer', message: want });
  });
});
