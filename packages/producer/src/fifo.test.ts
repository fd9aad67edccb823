import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Fifo } from './fifo.ts'

test('behaves as an array does, whatever is done at its ends', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('push', 'push', 'shift', 'unshift'), { maxLength: 300 }), (steps) => {
      const fifo = new Fifo<number>()
      const model: number[] = []
      for (const [index, step] of steps.entries()) {
        if (step === 'shift') expect(fifo.shift()).toBe(model.shift())
        else {
          fifo[step](index)
          model[step](index)
        }
        expect([fifo.length, fifo.first]).toEqual([model.length, model[0]])
      }
    }),
  )
})

test('gives everything back in order over many more items than it keeps room for', () => {
  const fifo = new Fifo<number>()
  for (let index = 0; index < 10_000; index++) fifo.push(index)
  for (let index = 0; index < 10_000; index++) expect(fifo.shift()).toBe(index)
  expect(fifo.shift()).toBeUndefined()
})

test('replaces items where they stand', () => {
  const queue = new Fifo<number>()
  for (let number = 1; number <= 5; number++) queue.push(number)
  queue.shift()
  queue.replaceEach((number) => (number === 3 ? [] : number === 4 ? [4, 4] : [number]))
  expect([queue.length, queue.shift(), queue.shift(), queue.shift(), queue.shift()]).toEqual([4, 2, 4, 4, 5])
})
