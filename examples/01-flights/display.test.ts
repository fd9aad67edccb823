import { describe, expect, test } from 'vitest'
import { Display, type Output } from './display.ts'

/** A terminal as far as the display uses it: what is to be seen on it at the end. */
function screenOf(written: string): string[] {
  const lines = ['']
  let row = 0
  for (const [token] of written.replaceAll('\x1b', '~').matchAll(/~\[\d+A|~\[J|~\[\d+m|\r|\n|[^~\r\n]+/g)) {
    const up = /^~\[(\d+)A$/.exec(token)
    if (up) row -= Number(up[1])
    else if (token === '~[J') lines.splice(row, lines.length, '')
    else if (token === '\n') lines[++row] ??= ''
    else if (!token.startsWith('~') && token !== '\r') lines[row] += token
  }
  return lines
}

function recorder(terminal: Partial<Output>): { output: Output; written: () => string } {
  let text = ''
  const write = (chunk: string | Uint8Array): boolean => {
    text += String(chunk)
    return true
  }
  return { output: { ...terminal, write }, written: () => text }
}

describe('on a terminal', () => {
  test('the block is redrawn in place below the lines', () => {
    const { output, written } = recorder({ isTTY: true, columns: 80, rows: 24 })
    const display = new Display(output, {})
    display.line('started')
    display.block(['put 1', 'delivered 0'])
    display.line('split', 'bold')
    display.block(['put 2', 'delivered 1', 'shard 4'])
    display.block(['put 3', 'delivered 3'])
    expect(screenOf(written())).toEqual(['started', 'split', 'put 3', 'delivered 3', ''])
    display.block([])
    display.line('done')
    expect(screenOf(written())).toEqual(['started', 'split', 'done', ''])
  })

  test('lines of the block are cut to its width and height', () => {
    const { output, written } = recorder({ isTTY: true, columns: 11, rows: 3 })
    new Display(output, {}).block(['0123456789ABC', '██████████████', 'third'])
    expect(screenOf(written())).toEqual(['0123456789', '██████████', ''])
  })

  test('NO_COLOR takes the colours away and leaves the block', () => {
    const coloured = recorder({ isTTY: true })
    new Display(coloured.output, {}).line('ok', 'green')
    expect(coloured.written()).toBe('\x1b[32mok\x1b[0m\n')
    const plain = recorder({ isTTY: true })
    const display = new Display(plain.output, { NO_COLOR: '1' })
    display.line('ok', 'green')
    expect(plain.written()).toBe('ok\n')
    expect(display.live).toBe(true)
  })
})

test.each([
  ['a pipe', {}, {}],
  ['a dumb terminal', { isTTY: true }, { TERM: 'dumb' }],
])('%s gets lines only, without any escape', (_name, terminal, env) => {
  const { output, written } = recorder(terminal)
  const display = new Display(output, env)
  display.line('started', 'bold')
  display.block(['put 1'])
  expect(display.live).toBe(false)
  expect(written()).toBe('started\n')
})
