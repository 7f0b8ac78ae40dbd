'use strict';
let spec;
const $ = (id) => document.getElementById(id);
/** An element; its words are always set as text, never as markup. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== ''));
  return node;
}

/** `words` as code; blank lines make paragraphs. */
const inline = (text = '') => text.split('`').map((piece, i) => (i % 2 ? el('code', {}, piece) : piece));
const prose = (text = '') => text.split(/\n\n+/).filter(Boolean).map((part) => el('p', {}, inline(part)));

/** What a `$ref` stands for. */
function deref(thing) {
  let found = thing;
  while (found?.$ref) found = found.$ref.slice(2).split('/').reduce((at, name) => at?.[name], spec);
  return found ?? {};
}

function typeOf(schema = {}) {
  if (schema.$ref) return schema.$ref.split('/').pop();
  const choice = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (choice) return choice.map(typeOf).join(' or ');
  const types = [schema.type ?? 'anything'].flat();
  return types.map((type) => (type === 'array' ? `list of ${typeOf(schema.items)}` : type)).join(' or ');
}

/** The object that a schema leads to, through lists and choices. */
function inner(schema = {}) {
  const own = deref(schema);
  if (own.properties) return own;
  const next = own.items ?? (own.oneOf ?? own.anyOf ?? own.allOf)?.find((each) => each.$ref || each.properties);
  return next && inner(next);
}

/** Members of an object; deeper ones are built when they are opened, so that a schema may contain itself. */
function fields(schema) {
  const own = inner(schema);
  if (!own) return el('p', {}, el('code', {}, typeOf(schema)));
  const needed = (name) => (own.required ?? []).includes(name);
  const all = Object.entries(own.properties).sort(([a], [b]) => needed(b) - needed(a));
  const rows = all.map(([name, field]) => {
    const known = deref(field);
    const { minimum: least, maximum: most, enum: words } = known;
    const facts = [typeOf(field), needed(name) && 'required', known.deprecated && 'deprecated', known.format,
      least !== undefined && `from ${least}`, most !== undefined && `to ${most}`, words && `one of ${words.join(', ')}`];
    const says = field.description ?? known.description;
    return el('li', {}, el('code', {}, name), ' ', el('span', { class: 'dim' }, facts.filter(Boolean).join(', ')), inline(says && ` · ${says}`),
      inner(field) ? later('its members', () => fields(field)) : '');
  });
  return el('ul', {}, rows);
}

function later(words, build) {
  return el('details', { ontoggle: (event) => {
    if (event.target === event.currentTarget && event.target.children.length === 1) event.target.append(build());
  } }, el('summary', { class: 'dim' }, words));
}

const examplesOf = (media = {}) => {
  const named = Object.entries(media.examples ?? {}).map(([name, each]) => [each.summary ?? name, each.value]);
  return named.length || media.example === undefined ? named : [['Example', media.example]];
};
const pretty = (value) => (typeof value === 'string' ? value : JSON.stringify(value, null, 2));

function answers(operation) {
  return Object.entries(operation.responses).map(([status, told]) => {
    const known = deref(told);
    const [media, headers] = [known.content, known.headers].map((each) => Object.entries(each ?? {}));
    return el('details', {}, el('summary', {}, el('b', {}, status), ' ', inline(known.description)),
      media.map(([type, content]) => [
        el('p', { class: 'dim' }, type, content.schema ? `: ${typeOf(content.schema)}` : ''),
        content.schema && inner(content.schema) ? later('its members', () => fields(content.schema)) : '',
        examplesOf(content).map(([name, value]) => [el('p', {}, name), el('pre', { tabindex: 0 }, pretty(value))]),
      ].flat(2)).flat(),
      headers.length ? later('headers', () => el('ul', {}, headers.map(([name, header]) =>
        el('li', {}, el('code', {}, name), ' ', inline(deref(header).description))))) : '');
  });
}

/** Fields for what a call takes, the same call for a shell, and a button that sends it. */
function tryIt(method, path, operation) {
  const [type, media] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
  const examples = examplesOf(media);
  const body = type && el('textarea', { 'aria-label': 'Request body', spellcheck: 'false' });
  if (body) body.value = pretty(examples[0]?.[1] ?? {});
  const choose = examples.length > 1 && el('select', { 'aria-label': 'Example', onchange: () => {
    body.value = pretty(examples[choose.selectedIndex][1]);
  } }, examples.map(([name]) => el('option', {}, name)));
  const inputs = (operation.parameters ?? []).map((parameter) => {
    const input = el('input', { placeholder: String(parameter.example ?? parameter.schema?.example ?? '') });
    if (parameter.in === 'path') input.value = input.placeholder;
    return [parameter, input];
  });
  const out = el('pre', { hidden: true, tabindex: 0, 'aria-live': 'polite' });
  const call = () => {
    let to = path;
    const query = new URLSearchParams();
    const headers = type ? { 'content-type': type } : {};
    if ($('key').value) headers.authorization = `Bearer ${$('key').value}`;
    for (const [{ name, in: place }, { value }] of inputs) {
      if (place === 'path') to = to.replace(`{${name}}`, encodeURIComponent(value));
      else if (value && place === 'query') query.set(name, value);
      else if (value && place === 'header') headers[name] = value;
    }
    const url = new URL(to.slice(1) + (query.size ? `?${query}` : ''), document.baseURI);
    return { url, init: { method: method.toUpperCase(), headers, body: body?.value, credentials: 'omit' } };
  };
  let running, send = el('button', { type: 'button', onclick: async () => {
    if (running) return running.abort();
    running = new AbortController();
    send.textContent = 'Stop';
    out.hidden = false;
    out.textContent = '…';
    try {
      const { url, init } = call();
      const answer = await fetch(url, { ...init, signal: running.signal });
      out.textContent = `${answer.status} ${answer.statusText}\n${[...answer.headers].map((pair) => pair.join(': ')).join('\n')}\n\n`;
      if (answer.headers.get('content-type')?.startsWith('application/json')) {
        out.append(pretty(await answer.json()));
      } else if (answer.body) {
        for (const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();;) {
          const { done, value } = await reader.read();
          if (done) break;
          out.append(value);
        }
      }
    } catch (error) {
      out.append(`\n${error.name === 'AbortError' ? 'Stopped.' : error}`);
    }
    running = undefined;
    send.textContent = 'Send';
  } }, 'Send');
  const shell = el('button', { type: 'button', onclick: () => {
    const { url, init } = call();
    const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const shown = ([name, value]) => (name === 'authorization' ? '"authorization: Bearer $KEY"' : quoted(`${name}: ${value}`));
    const lines = Object.entries(init.headers).map((header) => ` \\\n  -H ${shown(header)}`);
    const data = init.body ? ` \\\n  -d ${quoted(init.body)}` : '';
    out.hidden = false;
    out.textContent = `curl -X ${init.method} ${quoted(url.href)}${lines.join('')}${data}`;
  } }, 'curl');
  return [
    inputs.length ? el('h3', {}, 'Parameters') : '',
    inputs.map(([{ name, in: place, description }, input]) =>
      el('div', {}, el('label', {}, el('code', {}, name), el('span', { class: 'dim' }, place), input), prose(description))),
    body ? [el('h3', {}, 'Request'), media.schema ? later(`${typeOf(media.schema)}: its members`, () => fields(media.schema)) : '',
      choose ? el('div', { class: 'row' }, choose) : '', body].flat() : '',
    el('div', { class: 'row' }, send, shell), out,
  ].flat();
}

function who(operation) {
  if (!operation.security.length) return 'Public.';
  const words = { client_key: 'a client key', admin_key: 'the admin key', session: 'an admin’s session in the browser' };
  const ways = operation.security.map((each) => words[Object.keys(each)[0]] ?? 'no key where the gateway is open');
  return `Takes ${ways.join(', or ')}.`;
}

function show() {
  $('about').append(...prose(spec.info.description), el('p', { class: 'dim' }, `Version ${spec.info.version}`));
  const all = Object.entries(spec.paths).flatMap(([path, item]) =>
    ['get', 'post', 'put', 'patch', 'delete'].filter((method) => item[method]).map((method) => ({ path, method, operation: item[method] })));
  const calls = [];
  for (const tag of spec.tags) {
    const own = all.filter(({ operation }) => operation.tags[0] === tag.name);
    if (!own.length) continue;
    const section = el('section', {}, el('h2', {}, tag.description));
    for (const { path, method, operation } of own) {
      const details = el('details', { class: 'call', id: operation.operationId, ontoggle: (event) => {
        if (event.target !== details || details.children.length > 1) return;
        details.append(el('div', {}, prose(operation.description), el('p', { class: 'dim' }, who(operation)),
          tryIt(method, path, operation), el('h3', {}, 'Answers'), answers(operation)));
      } }, el('summary', {}, el('span', { class: `method ${method}` }, method.toUpperCase()), ' ', el('code', {}, path), ' ', inline(operation.summary)));
      calls.push([details, `${method} ${path} ${operation.summary} ${operation.description ?? ''}`.toLowerCase()]);
      section.append(details);
    }
    $('main').append(section);
  }
  $('find').addEventListener('input', () => {
    const words = $('find').value.toLowerCase().split(/\s+/);
    for (const [details, text] of calls) details.hidden = !words.every((word) => text.includes(word));
    for (const section of document.querySelectorAll('section')) section.hidden = !section.querySelector('details.call:not([hidden])');
  });
  const named = () => {
    const call = calls.find(([details]) => `#${details.id}` === location.hash)?.[0];
    if (call) call.open = true;
    call?.scrollIntoView();
  };
  addEventListener('hashchange', named);
  named();
}

$('tools').addEventListener('submit', (event) => event.preventDefault());
fetch('openapi.json').then((answer) => answer.json()).then((json) => { spec = json; show(); })
  .catch((error) => $('main').append(el('p', {}, `openapi.json could not be read: ${error}`)));
