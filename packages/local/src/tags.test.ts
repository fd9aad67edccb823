import { expect, test } from 'vitest'
import { errorOf, STREAM_ARN, World } from '../test/model-world.ts'

test('tags of a stream are added, replaced, removed and listed', () => {
  const world = new World()
  world.execute('AddTagsToStream', { StreamName: 's', Tags: { team: 'a', stage: 'test', cost: '1' } })
  world.execute('AddTagsToStream', { StreamName: 's', Tags: { team: 'b' } })
  world.execute('RemoveTagsFromStream', { StreamName: 's', TagKeys: ['cost', 'unknown'] })
  expect(world.execute('ListTagsForStream', { StreamName: 's' })).toEqual({
    Tags: [
      { Key: 'team', Value: 'b' },
      { Key: 'stage', Value: 'test' },
    ],
    HasMoreTags: false,
  })
})

test('tags are listed page by page', () => {
  const world = new World()
  world.execute('AddTagsToStream', { StreamName: 's', Tags: { a: '1', b: '2', c: '3' } })
  expect(world.execute('ListTagsForStream', { StreamName: 's', Limit: 2 })).toMatchObject({ HasMoreTags: true })
  expect(world.execute('ListTagsForStream', { StreamName: 's', ExclusiveStartTagKey: 'b' })).toEqual({
    Tags: [{ Key: 'c', Value: '3' }],
    HasMoreTags: false,
  })
})

test('streams and consumers are tagged by their ARN', () => {
  const world = new World()
  for (const ResourceARN of [STREAM_ARN, world.register()]) {
    world.execute('TagResource', { ResourceARN, Tags: { team: ResourceARN, stage: 'test' } })
    world.execute('UntagResource', { ResourceARN, TagKeys: ['stage'] })
    expect(world.execute('ListTagsForResource', { ResourceARN })).toEqual({
      Tags: [{ Key: 'team', Value: ResourceARN }],
    })
  }
})

test.each([
  ['51 tags', Object.fromEntries(Array.from({ length: 51 }, (_, index) => [`k${index}`, ''])), 'ValidationException'],
  ['a key of 129 characters', { ['k'.repeat(129)]: '' }, 'ValidationException'],
  ['a value of 257 characters', { k: 'v'.repeat(257) }, 'ValidationException'],
  ['a value that is no text', { k: 1 }, 'SerializationException'],
  ['none at all', undefined, 'ValidationException'],
])('%s are refused', (_, Tags, type) => {
  expect(new World().refusal('TagResource', { ResourceARN: STREAM_ARN, Tags })).toBe(type)
})

test('policies of streams and consumers are kept and told', () => {
  const world = new World()
  for (const ResourceARN of [STREAM_ARN, world.register()]) {
    const Policy = JSON.stringify({ Statement: ResourceARN })
    world.execute('PutResourcePolicy', { ResourceARN, Policy })
    expect(world.execute('GetResourcePolicy', { ResourceARN })).toEqual({ Policy })
    world.execute('DeleteResourcePolicy', { ResourceARN })
    expect(errorOf(() => world.execute('DeleteResourcePolicy', { ResourceARN })).type).toBe('ResourceNotFoundException')
  }
  expect(world.refusal('PutResourcePolicy', { ResourceARN: STREAM_ARN, Policy: 'none' })).toBe(
    'InvalidArgumentException',
  )
})
