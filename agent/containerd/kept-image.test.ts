import { expect, it } from '@jest/globals';
import { keepImage, keptImage } from './kept-image.ts';

const image = { digest: 'sha256:1', defaults: { entrypoint: ['/e'], cmd: [], env: ['A=1'], workingDir: '/', user: 'u' } };

it('goes there and back', () => {
  expect(keptImage(keepImage(image))).toEqual(image);
});

it.each(['', '{}', 'null', '{"digest":1}'])('is nothing when it reads %s', (text) => {
  expect(keptImage({ 'berth.dev/image': { typeUrl: '', value: Buffer.from(text) } })).toBeUndefined();
});

it('is nothing when there is none', () => {
  expect(keptImage({})).toBeUndefined();
});
