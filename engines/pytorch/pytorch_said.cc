/* Reads what a user says of a model's inputs and outputs: the JSON file beside the model,
 * or the value of an option. JSON of objects, lists, strings and numbers is an expression
 * of TorchScript's language too, so libtorch's own parser reads it; what is here is only
 * what we expect in it. docs/decisions/pytorch.md says why. */
#include "pytorch.h"

#include <torch/csrc/jit/frontend/lexer.h>
#include <torch/csrc/jit/frontend/parser.h>

using torch::jit::Expr;

[[noreturn]] static void refuse(const std::string &where, const std::string &reason)
{
    throw pytorch_refusal(GP_INVALID, where + ": " + reason);
}

/* The parser calls itself for whatever holds something else, and its trees are freed in the
 * same way: far beyond what we expect that would use up the stack. */
static void check_depth(const std::string &text, const std::string &where)
{
    enum { MOST_OPEN = 16, LONGEST = 100 };
    int n_open = 0, size = 0; /* of what stands between two marks */
    char quote = 0;
    for (size_t i = 0; i < text.size(); i++) {
        const char c = text[i];
        if (quote) {
            i += c == '\\';
            quote = c == quote ? '\0' : quote;
            continue;
        }
        quote = c == '"' || c == '\'' ? c : '\0';
        size = strchr(",:[]{}", c) ? 0 : size + (c > ' ');
        n_open += (strchr("[{(", c) != nullptr) - (strchr("]})", c) != nullptr);
        if (n_open > MOST_OPEN || size > LONGEST)
            refuse(where, "is no JSON of inputs and outputs: it nests too deep");
    }
}

static Expr parse(const std::string &text, const std::string &where)
{
    check_depth(text, where);
    try {
        /* inside brackets the lexer does not mind how lines begin and end */
        torch::jit::Parser parser(
            std::make_shared<torch::jit::Source>("(" + text + "\n)", where, 1));
        const Expr expr = parser.parseExp();
        if (parser.lexer().cur().kind != torch::jit::TK_NEWLINE &&
            parser.lexer().cur().kind != torch::jit::TK_EOF)
            refuse(where, "more follows after its end");
        return expr;
    } catch (const pytorch_refusal &) {
        throw;
    } catch (const std::exception &failure) {
        refuse(where, "is not JSON: " + pytorch_one_line(failure));
    }
}

static std::string text_of(const Expr &expr, const std::string &where)
{
    if (expr.kind() != torch::jit::TK_STRINGLITERAL)
        refuse(where, "should be a text in quotes");
    return torch::jit::StringLiteral(expr).text();
}

static torch::jit::List<Expr> list_of(const Expr &expr, const std::string &where)
{
    if (expr.kind() != torch::jit::TK_LIST_LITERAL)
        refuse(where, "should be a list");
    return torch::jit::ListLiteral(expr).inputs();
}

/* Calls member(key, value, where) for each member of an object. */
template <typename Member>
static void each_member(const Expr &expr, const std::string &where, Member member)
{
    if (expr.kind() != torch::jit::TK_DICT_LITERAL)
        refuse(where, "should be an object");
    const torch::jit::DictLiteral object(expr);
    for (size_t i = 0; i < object.key_inputs().size(); i++) {
        const std::string key = text_of(object.key_inputs()[i], where + ": a key");
        member(key, object.value_inputs()[i], where + "." + key);
    }
}

static int64_t size_of(const Expr &expr, const std::string &where)
{
    const bool is_negative = expr.kind() == torch::jit::TK_UNARY_MINUS;
    const Expr number = is_negative ? Expr(expr.tree()->trees().at(0)) : expr;
    if (number.kind() != torch::jit::TK_CONST || !torch::jit::Const(number).isIntegral())
        refuse(where, "should be a whole number, -1 for any size");
    const int64_t size = torch::jit::Const(number).asIntegral() * (is_negative ? -1 : 1);
    if (size < -1)
        refuse(where, "is " + std::to_string(size) + "; -1 says any size");
    return size;
}

static std::vector<int64_t> shape_of(const Expr &expr, const std::string &where)
{
    std::vector<int64_t> shape;
    for (const Expr &size : list_of(expr, where))
        shape.push_back(size_of(size, where + "[" + std::to_string(shape.size()) + "]"));
    if (shape.size() > GP_MAX_RANK)
        refuse(where, "has " + std::to_string(shape.size()) +
                          " sizes, over the limit of " + std::to_string(GP_MAX_RANK));
    return shape;
}

static enum gp_dtype dtype_of(const Expr &expr, const std::string &where)
{
    const std::string name = text_of(expr, where);
#define DTYPE_CASE(symbol, number, its_name, size)                                       \
    if (name == its_name)                                                                \
        return symbol;
    GP_DTYPE_MAP(DTYPE_CASE)
#undef DTYPE_CASE
    refuse(where, "is \"" + name + "\", which is no type; one is float32");
}

static pytorch_io io_of(const Expr &expr, const std::string &where)
{
    pytorch_io io;
    each_member(expr, where,
                [&](const std::string &key, const Expr &value, const std::string &at) {
                    if (key == "name")
                        io.name = text_of(value, at);
                    else if (key == "description")
                        io.description = text_of(value, at);
                    else if (key == "dtype")
                        io.dtype = dtype_of(value, at);
                    else if (key == "shape")
                        io.shape = shape_of(value, at);
                    else
                        refuse(at, "is not known; there are name, dtype, shape and "
                                   "description");
                });
    return io;
}

static std::vector<pytorch_io> ios_of(const Expr &expr, const std::string &where)
{
    std::vector<pytorch_io> list;
    for (const Expr &entry : list_of(expr, where))
        list.push_back(io_of(entry, where + "[" + std::to_string(list.size()) + "]"));
    return list;
}

std::vector<pytorch_io> pytorch_said_list(const std::string &text,
                                          const std::string &where)
{
    return ios_of(parse(text, where), where);
}

pytorch_said pytorch_said_read(const std::string &text, const std::string &where)
{
    pytorch_said said;
    each_member(parse(text, where), where,
                [&](const std::string &key, const Expr &value, const std::string &at) {
                    if (key == "inputs")
                        said.inputs = ios_of(value, at);
                    else if (key == "outputs")
                        said.outputs = ios_of(value, at);
                    else
                        refuse(at, "is not known; there are inputs and outputs");
                });
    return said;
}
