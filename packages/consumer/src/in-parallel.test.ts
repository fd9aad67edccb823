import { expect, test } from 'vitest'
import { inParallel } from './in-parallel.ts'

test('all of it is done, some at a time', async () => {
  const done: number[] = []
  let [running, most] = [0, 0]
  await inParallel(
    Array.from({ length: 100 }, (_, index) => index),
    async (item) => {
      most = Math.max(most, ++running)
      await Promise.resolve()
      running--
      done.push(item)
    },
  )
  expect(done.sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, index) => index))
  expect(most).toBe(16)
})

test('one that fails is told when the rest is done', async () => {
  const done: number[] = []
  const items = Array.from({ length: 40 }, (_, index) => index)
  const all = inParallel(items, async (item) => {
    await Promise.resolve()
    if (item === 3) throw new Error('three')
    done.push(item)
  })
  await expect(all).rejects.toThrow('three')
  expect(done).toHaveLength(39)
})

test('nothing to do is done', async () => {
  await expect(inParallel([], () => Promise.reject(new Error('nothing')))).resolves.toBeUndefined()
})
