import { describe, expect, it } from '@jest/globals';
import { AttemptError } from '../copies/attempt-error.ts';
import { pullError } from '../images/pull-errors.ts';
import { pushError, readError, restoreError } from './errors.ts';

describe('why a backup failed', () => {
  it.each([
    { said: 'write /var/lib/x: no space left on device: unknown', want: 'OutOfDisk' },
    { said: 'archive/tar: write too long', want: 'BackupFailed' },
  ])('in reading: $said → $want', ({ said, want }) => expect(readError(said).code).toBe(want));

  it.each([
    { said: 'failed to do request: Put "http://r/v2/": dial tcp 127.0.0.1:1: connect: connection refused', want: 'RegistryUnavailable' },
    { said: 'unexpected status from PUT request to http://r/v2/a: 503 Service Unavailable', want: 'RegistryUnavailable' },
    { said: 'unexpected status from HEAD request to https://r/v2/a: 401 Unauthorized', want: 'ImageUnauthorized' },
    { said: 'push access denied, repository does not exist', want: 'ImageUnauthorized' },
    { said: 'unexpected status from POST request to https://r/v2/a: 405 Method Not Allowed', want: 'BackupFailed' },
  ])('in sending: $said → $want', ({ said, want }) => expect(pushError('r/a:b', 'r', said).code).toBe(want));

  it.each([
    { said: 'failed to resolve image: r/a@sha256:1: not found', want: 'BackupNotFound' },
    {
      said: 'failed commit on ref "layer-sha256:1": unexpected commit digest sha256:2, expected sha256:1: failed precondition',
      want: 'BackupCorrupt',
    },
    { said: 'wrong diff id "sha256:1" calculated on extraction "sha256:2"', want: 'BackupCorrupt' },
    { said: 'dial tcp 127.0.0.1:1: connect: connection refused', want: 'RegistryUnavailable' },
    { said: 'unexpected status from HEAD request: 403 Forbidden', want: 'ImageUnauthorized' },
    { said: 'write: no space left on device', want: 'OutOfDisk' },
  ])('in restoring: $said → $want', ({ said, want }) => {
    expect(restoreError('r/a@sha256:1', pullError('r/a@sha256:1', 'r', said))).toMatchObject({ code: want });
  });

  it('does not tell the state of an upload', () => {
    const { message } = pushError('r/a:b', 'r', 'failed to do request: Put "http://r/v2/a/blobs/uploads/1?_state=secret&digest=x": EOF');
    expect(message).toBe('The registry r does not take the backup: failed to do request: Put "http://r/v2/a/blobs/uploads/1": EOF');
  });

  it.each([
    { what: 'a command that is missing', error: new AttemptError('CommandMissing', 'no command') },
    { what: 'what nobody knows', error: new Error('lost') },
  ])('leaves $what as it is', ({ error }) => expect(restoreError('r/a', error)).toBe(error));
});
