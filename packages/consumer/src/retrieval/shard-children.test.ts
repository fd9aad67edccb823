import { expect, test } from 'vitest'
import { CHILD, shardId } from '../../test/reading.ts'
import { EndJudge } from './shard-children.ts'

const on = { goesOn: true, children: [], millisBehindLatest: 0 }
const end = { goesOn: false, children: [CHILD], millisBehindLatest: 60_000 }
const bare = { goesOn: false, children: undefined, millisBehindLatest: 0 }
const contradiction = /^expected either where to go on or the children of shardId-000000000000, got /

test('an end comes with children, and nothing else does', () => {
  const judge = new EndJudge(shardId)
  expect(judge.isEnd(on, '1')).toBe(false)
  expect(judge.isEnd(end, '1')).toBe(true)
  expect(() => judge.isEnd({ ...end, goesOn: true }, '1')).toThrow(contradiction)
  const half = { ...CHILD, ParentShards: [] }
  expect(() => judge.isEnd({ ...end, children: [CHILD, half] }, '1')).toThrow(contradiction)
})

test('an end without children is believed when it has come three times at one place, whatever came in between', () => {
  const judge = new EndJudge(shardId)
  expect(() => judge.isEnd(bare, '1')).toThrow(contradiction)
  expect(judge.isEnd(on, '1')).toBe(false)
  expect(() => judge.isEnd(bare, '1')).toThrow(contradiction)
  expect(judge.isEnd(bare, '1')).toBe(true)
})

test('an end without children is not believed when it comes at one place after another', () => {
  const judge = new EndJudge(shardId)
  for (let at = 1; at < 10; at++) expect(() => judge.isEnd(bare, String(at))).toThrow(contradiction)
})

test('an end without children is never believed while the shard has more', () => {
  const judge = new EndJudge(shardId)
  const early = { ...bare, millisBehindLatest: 1 }
  for (let times = 1; times < 10; times++) expect(() => judge.isEnd(early, '1')).toThrow(contradiction)
  expect(() => judge.isEnd({ ...bare, goesOn: true, children: [CHILD] }, '1')).toThrow(contradiction)
})
