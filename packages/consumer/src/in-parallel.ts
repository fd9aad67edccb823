const AT_ONCE = 16

/** Does all of it, some at a time; rejects with the first error when nothing is under way any more. */
export async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values()
  const lanes = await Promise.allSettled(
    Array.from({ length: Math.min(AT_ONCE, items.length) }, async () => {
      for (const item of queue) await work(item)
    }),
  )
  for (const lane of lanes) if (lane.status === 'rejected') throw lane.reason
}
