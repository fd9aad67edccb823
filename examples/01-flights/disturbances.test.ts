import { expect, test } from 'vitest'
import { hottestShard } from './disturbances.ts'

test('the hottest shard is the one with the most acknowledged records', () => {
  const shards = new Map([
    ['shardId-000000000000', { acknowledged: 10, behind: 0 }],
    ['shardId-000000000001', { acknowledged: 30, behind: 0 }],
    ['shardId-000000000002', { acknowledged: 20, behind: 0 }],
  ])
  expect(hottestShard(shards)).toBe('shardId-000000000001')
})
