import { expect, test } from 'vitest'
import { Pauses } from './pauses.ts'

const paused = (pauses: Pauses): string[] =>
  ['a', 'b'].flatMap((stream) => ['1', '2'].flatMap((id) => (pauses.isPaused(stream, id) ? `${stream}${id}` : [])))

test('the last word counts, of everything, a stream or a shard', () => {
  const pauses = new Pauses()
  expect(paused(pauses)).toEqual([])
  pauses.set({}, true)
  expect(paused(pauses)).toEqual(['a1', 'a2', 'b1', 'b2'])
  pauses.set({ stream: 'a' }, false)
  expect(paused(pauses)).toEqual(['b1', 'b2'])
  pauses.set({ shardId: '1' }, true)
  expect(paused(pauses)).toEqual(['a1', 'b1', 'b2'])
  pauses.set({ stream: 'b', shardId: '1' }, false)
  expect(paused(pauses)).toEqual(['a1', 'b2'])
  pauses.set({}, false)
  expect(paused(pauses)).toEqual([])
})

test('resuming twice, or what never was paused, changes nothing', () => {
  const pauses = new Pauses()
  pauses.set({ shardId: '1' }, false)
  pauses.set({ shardId: '1' }, true)
  pauses.set({ shardId: '1' }, false)
  pauses.set({ shardId: '1' }, false)
  expect(paused(pauses)).toEqual([])
})

test('a word on a part of what is paused does not outlive the next word on the whole', () => {
  const pauses = new Pauses()
  pauses.set({ stream: 'a', shardId: '1' }, false)
  pauses.set({ stream: 'a' }, true)
  expect(paused(pauses)).toEqual(['a1', 'a2'])
})
