import { expect, test } from 'vitest'
import { KeyLanes, type Parked } from './key-lanes.ts'

interface Item extends Parked<Item> {
  readonly name: string
}

const item = (name: string): Item => ({ name, behind: undefined })

function lanesOf(...parked: readonly [string, string][]): KeyLanes<Item> {
  const lanes = new KeyLanes<Item>()
  for (const [key, name] of parked) {
    if (!lanes.isBusy(key)) lanes.start(key)
    lanes.park(key, item(name))
  }
  return lanes
}

test('what waits for a key comes in order, one each time the key has nothing running', () => {
  const lanes = lanesOf(['a', 'a1'], ['a', 'a2'])
  expect(lanes.takeReady()).toBeUndefined()
  lanes.finish('a')
  expect(lanes.takeReady()?.name).toBe('a1')
  expect(lanes.takeReady()).toBeUndefined()
  lanes.park('a', item('a3'))
  lanes.finish('a')
  expect(lanes.takeReady()?.name).toBe('a2')
  lanes.finish('a')
  expect(lanes.takeReady()?.name).toBe('a3')
  expect(lanes.isBusy('a')).toBe(true)
  lanes.finish('a')
  expect(lanes.isBusy('a')).toBe(false)
  expect(lanes.busyKeys).toBe(0)
})

test('a key that has much to do takes turns with the others', () => {
  const lanes = lanesOf(...Array.from({ length: 100 }, (_, index): [string, string] => ['hot', `hot${index}`]), [
    'b',
    'b0',
  ])
  lanes.finish('hot')
  lanes.finish('b')
  const order: string[] = []
  for (let next = lanes.takeReady(); order.length < 5; next = lanes.takeReady()) {
    order.push(next!.name)
    lanes.finish(next!.name.startsWith('hot') ? 'hot' : 'b')
  }
  expect(order).toEqual(['hot0', 'b0', 'hot1', 'hot2', 'hot3'])
})

test('several of a key join at once, and the rest waits on while those run', () => {
  const lanes = lanesOf(['a', 'a1'], ['a', 'a2'], ['a', 'a3'], ['b', 'b1'])
  lanes.finish('a')
  lanes.finish('b')
  expect(lanes.firstReady?.name).toBe('a1')
  expect([lanes.joinReady(), lanes.joinReady()].map((each) => each?.name)).toEqual(['a1', 'a2'])
  lanes.hold('a')
  expect(lanes.firstReady?.name).toBe('b1')
  lanes.joinReady()
  expect(lanes.isBusy('b')).toBe(false)
  lanes.hold('b')
  expect(lanes.isBusy('b')).toBe(true)
  expect(lanes.firstReady).toBeUndefined()
  lanes.finish('a')
  expect(lanes.joinReady()?.name).toBe('a3')
})

test('a hundred thousand that wait for one key are no slower each than a few', () => {
  const lanes = new KeyLanes<Item>()
  lanes.start('hot')
  const items = Array.from({ length: 100_000 }, (_, index) => item(String(index)))
  for (const each of items) lanes.park('hot', each)
  for (const each of items) {
    lanes.finish('hot')
    if (lanes.takeReady() !== each) throw new Error(`expected ${each.name} next`)
  }
  lanes.finish('hot')
  expect(lanes.busyKeys).toBe(0)
})
