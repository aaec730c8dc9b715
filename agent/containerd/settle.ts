/** Both results; when one fails, the failure only after the other has ended too, so that nothing is still being made. */
export async function settle<A, B>(first: A | Promise<A>, second: B | Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([first, second]);
  return Promise.all([first, second]);
}
